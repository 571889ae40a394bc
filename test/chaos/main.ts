// `npm run chaos`: real processes under steady load while everything around and in them is broken, and what became of
// each job that was accepted. docs/chaos.md
import { findLeftovers } from './left-behind.ts'
import { readOptions, USAGE, type Options } from './options.ts'
import { formatBroken, formatTable, writeJson } from './report.ts'
import { openSite, playScenario, type Outcome, type Scenario, type Site } from './scenario.ts'
import { SCENARIOS } from './scenarios.ts'

/** Until the time of batches, events and deliveries is over. */
const KEPT_MS = 400_000

const say = (text: string) => void process.stdout.write(`${text}\n`)

/** Scenarios that can share a fleet, in their order. */
function siteName({ storage = 'always', env = {} }: Scenario): string {
  return JSON.stringify([storage, env])
}

async function playRound(wanted: readonly Scenario[], options: Options, round: number): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  const groups = Map.groupBy(wanted, siteName)
  for (const [name, scenarios] of groups) {
    const [first] = scenarios
    if (!first) continue
    const site = await openSite(options.run, first)
    try {
      for (const scenario of scenarios) {
        const outcome = await playScenario(scenario, options.run, site, round)
        say(
          `${outcome.broken.length === 0 ? 'kept  ' : 'BROKEN'} ${outcome.name} (${outcome.seconds.toFixed(0)} s)`,
        )
        if (outcome.broken.length > 0) say(formatBroken(outcome))
        outcomes.push(outcome)
      }
      if (options.run.isLong) outcomes.push(await closeUp(site, name))
    } finally {
      await site.close()
    }
  }
  return outcomes
}

/** When the time of all that was kept is over, nothing may be left. */
async function closeUp({ fleet }: Site, name: string): Promise<Outcome> {
  const startedAt = performance.now()
  const broken = await findLeftovers(fleet, { isOver: true, isCalm: false, patienceMs: KEPT_MS })
  const seconds = (performance.now() - startedAt) / 1_000
  const none = {
    sent: 0,
    accepted: 0,
    ended: 0,
    lost: 0,
    repeated: 0,
    marked: 0,
    unmarked: 0,
    calls: 0,
    attempts: 0,
  }
  const outcome = {
    ...none,
    webhooks: 0,
    redelivered: 0,
    name: 'leftovers',
    story: '',
    faults: [],
    seconds,
    broken,
  }
  if (broken.length > 0) say(`BROKEN leftovers of ${name}\n${formatBroken(outcome)}`)
  return outcome
}

async function main(options: Options): Promise<number> {
  if (options.isHelp || options.isList) {
    say(options.isHelp ? USAGE : SCENARIOS.map(({ name, about }) => `${name.padEnd(18)}${about}`).join('\n'))
    return 0
  }
  const unknown = options.only.filter((name) => !SCENARIOS.some((scenario) => scenario.name === name))
  if (unknown.length > 0) throw new Error(`There is no scenario ${unknown.join(', ')}: see --list`)
  const wanted = SCENARIOS.filter(({ name }) => options.only.length === 0 || options.only.includes(name))
  const outcomes: Outcome[] = []
  const startedAt = performance.now()
  const minutes = () => (performance.now() - startedAt) / 60_000
  const accepted = () => outcomes.reduce((sum, one) => sum + one.accepted, 0)
  for (let round = 1; ; round += 1) {
    outcomes.push(...(await playRound(wanted, options, round)))
    const isEnough = accepted() >= options.jobs && minutes() >= options.minutes
    if (isEnough || minutes() >= 2 * options.minutes) break
  }
  say(formatTable(outcomes))
  if (options.jsonFile !== '') writeJson(options.jsonFile, options.run.seed, outcomes)
  const isKept = outcomes.every(({ broken }) => broken.length === 0)
  say(`seed ${options.run.seed}: ${isKept ? 'every promise was kept' : 'PROMISES WERE BROKEN'}`)
  return isKept ? 0 : 1
}

// What was started ends with us: `startProcess` sees to it when this process exits.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))

process.exitCode = await main(readOptions(process.argv.slice(2)))
