# One image for the API and the workers; docker-compose.yml says which of them a container is.
ARG NODE_IMAGE=node:24-slim

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# The image brings its own Node, so that the optional pinned one stays out; nothing we use needs an install script.
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM ${NODE_IMAGE}
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json ./
COPY shared ./shared
COPY api ./api
COPY worker ./worker
COPY cli ./cli
# A volume that is mounted here first takes over whose the folder is.
RUN mkdir /files /compiled && chown node:node /files /compiled
# The user that Node's images have: not root, and owner of nothing here.
USER node
# Compiled code, from starts that end for want of a configuration: with it a process takes half as long to start, and 20 MB
# less. Node looks for what its own user has made; nobody is to write there later.
ENV NODE_COMPILE_CACHE=/compiled
RUN node api/main.ts 2>/dev/null; node worker/main.ts 2>/dev/null; test -n "$(ls /compiled)"
USER root
RUN chown -R root:root /compiled && chmod -R a+rX /compiled
USER node
# Inside a container; which address of the host it is reached by is the business of whoever publishes the port.
ENV HOST=0.0.0.0 PORT=4000
EXPOSE 4000
HEALTHCHECK --interval=5s --timeout=3s --start-period=15s CMD ["node", "cli/healthcheck.ts"]
CMD ["node", "api/main.ts"]
