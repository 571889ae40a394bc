import { describeAim, withUnit } from './figures.ts'
import { isMet, type Figure } from './measure.ts'

const WIDTH = 1_120
const LABEL_WIDTH = 520
const BAR_WIDTH = 380
const ROW_HEIGHT = 24
const BAR_HEIGHT = 14
const TOP = 64
const BOTTOM = 40
/** What is this many times as good as its aim, or better, has a full bar. */
const RATIO_MAX = 2
const TICKS = [0, 0.5, 1, 1.5, 2]
const COLORS = { met: '#1f7a5a', missed: '#c2562e', axis: '#8a8f98', text: '#1c1f24' }

/**
 * A plot as SVG: a bar for each figure that has an aim, as long as it is good beside that aim. What reaches the line is met;
 * where less is better, half of the aim is twice as good.
 */
export function plotFigures(figures: readonly Figure[], title: string): string {
  const rows = figures.filter(({ aim }) => aim !== null)
  const bottom = TOP + rows.length * ROW_HEIGHT
  const height = bottom + BOTTOM
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, sans-serif" font-size="12" fill="${COLORS.text}">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    text(16, 26, title, 'font-size="16" font-weight="600"'),
    text(LABEL_WIDTH, 46, 'times the aim', `fill="${COLORS.axis}"`),
    ...TICKS.map((tick) => drawTick(tick, bottom)),
    ...rows.map((figure, at) => drawRow(figure, TOP + at * ROW_HEIGHT)),
    `<line x1="${xOf(1)}" y1="${TOP - 6}" x2="${xOf(1)}" y2="${bottom + 4}" stroke="${COLORS.text}" stroke-width="1.5"/>`,
    '</svg>',
  ]
  return `${parts.join('\n')}\n`
}

/** How many times as good as its aim a figure is; above 1 is met. NaN without one, or without a figure. */
export function ratioToAim({ reached, aim }: Figure): number {
  if (!aim) return Number.NaN
  if ('atLeast' in aim) return reached / aim.atLeast
  // At most 0, or below it where less is better: as good as can be.
  return reached <= 0 ? Infinity : aim.atMost / reached
}

function drawTick(tick: number, bottom: number): string {
  const x = xOf(tick)
  const label = tick === RATIO_MAX ? `${tick} and more` : String(tick)
  const line = `<line x1="${x}" y1="${TOP - 4}" x2="${x}" y2="${bottom}" stroke="${COLORS.axis}" stroke-opacity="0.35"/>`
  return `${line}${text(x, bottom + 18, label, `text-anchor="middle" fill="${COLORS.axis}"`)}`
}

function drawRow(figure: Figure, top: number): string {
  const ratio = ratioToAim(figure)
  const width = Number.isNaN(ratio) ? 0 : xOf(Math.min(ratio, RATIO_MAX)) - LABEL_WIDTH
  const color = isMet(figure) ? COLORS.met : COLORS.missed
  const middle = top + ROW_HEIGHT / 2
  const told = `${withUnit(figure.reached, figure.unit)} (${describeAim(figure)})`
  return [
    text(LABEL_WIDTH - 10, middle + 4, figure.text, 'text-anchor="end"'),
    `<rect x="${LABEL_WIDTH}" y="${middle - BAR_HEIGHT / 2}" width="${Math.max(1, width).toFixed(1)}" height="${BAR_HEIGHT}" fill="${color}"/>`,
    text(LABEL_WIDTH + BAR_WIDTH + 16, middle + 4, told, `fill="${color}"`),
  ].join('')
}

function xOf(ratio: number): number {
  return LABEL_WIDTH + (ratio / RATIO_MAX) * BAR_WIDTH
}

function text(x: number, y: number, content: string, attributes: string): string {
  return `<text x="${x}" y="${y}" ${attributes}>${escapeXml(content)}</text>`
}

function escapeXml(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
