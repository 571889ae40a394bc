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

/** Plays each of them once, or until it is enough. */
async function playRound(
  wanted: readonly Scenario[],
  { run }: Options,
  round: number,
  isEnough: (outcomes: readonly Outcome[]) => boolean,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  // What is kept for minutes is waited for while others are played.
  const closing: Promise<Outcome[]>[] = []
  try {
    for (const [name, scenarios] of Map.groupBy(wanted, siteName)) {
      const [first] = scenarios
      if (!first || isEnough(outcomes)) continue
      const site = await openSite(run, first)
      try {
        for (const scenario of scenarios) {
          if (isEnough(outcomes)) break
          const outcome = await playScenario(scenario, run, site, round)
          tell(outcome)
          outcomes.push(outcome)
        }
      } catch (error) {
        await site.close()
        throw error
      }
      closing.push(closeDown(site, name, run.isLong))
    }
  } finally {
    await Promise.allSettled(closing)
  }
  return [...outcomes, ...(await Promise.all(closing)).flat()]
}

function tell(outcome: Outcome): void {
  const { name, seconds, accepted, lost, broken, skipped } = outcome
  const isKept = broken.length === 0
  say(`${isKept ? 'kept  ' : 'BROKEN'} ${name} (${seconds.toFixed(0)} s, ${accepted} accepted, ${lost} lost)`)
  if (broken.length > 0) say(formatBroken(outcome))
  for (const text of skipped) say(`  not looked at: ${text}`)
}

/** Closes a site; in the long form it must be empty first. */
async function closeDown(site: Site, name: string, isLong: boolean): Promise<Outcome[]> {
  try {
    return isLong ? [await closeUp(site, name)] : []
  } finally {
    await site.close()
  }
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
    skipped: [],
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
  const isEnough = (now: readonly Outcome[]) => {
    const accepted = [...outcomes, ...now].reduce((sum, one) => sum + one.accepted, 0)
    const isDone = accepted >= options.jobs && minutes() >= options.minutes
    return isDone || minutes() >= 2 * options.minutes
  }
  for (let round = 1; ; round += 1) {
    outcomes.push(...(await playRound(wanted, options, round, (now) => round > 1 && isEnough(now))))
    if (isEnough([])) break
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
