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
RUN mkdir /files && chown node:node /files
# The user that Node's images have: not root, and owner of nothing here.
USER node
# Inside a container; which address of the host it is reached by is the business of whoever publishes the port.
ENV HOST=0.0.0.0 PORT=4000
EXPOSE 4000
HEALTHCHECK --interval=5s --timeout=3s --start-period=15s CMD ["node", "cli/healthcheck.ts"]
CMD ["node", "api/main.ts"]
