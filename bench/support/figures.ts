import { isMet, type Figure } from './measure.ts'
import { printTable } from './report.ts'

/** Prints what was reached, one line a figure, and how many aims were. */
export function printFigures(figures: readonly Figure[]): void {
  const rows = figures.map((figure) => [
    figure.text,
    withUnit(figure.reached, figure.unit),
    describeAim(figure),
    describeMet(figure),
    figure.note ?? '',
  ])
  printTable(['measure', 'reached', 'aim', 'met', ''], rows)
  const held = figures.filter(({ aim }) => aim !== null)
  console.log(`  ${held.filter(isMet).length} of ${held.length} aims are met`)
}

/** The same as a table of Markdown, for docs/performance.md. */
export function figuresAsMarkdown(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => {
    const { text, reached, unit, note } = figure
    const cells = [text, describeAim(figure), withUnit(reached, unit), describeMet(figure)]
    return `| ${cells.join(' | ')} |${note === undefined ? '' : ` <!-- ${note} -->`}`
  })
  return `${['| measure | aim | reached | met |', '|---|---|---|---|', ...rows].join('\n')}\n`
}

/** Like `>= 1.8 x`; empty for what is only told. */
export function describeAim({ aim, unit }: Figure): string {
  if (!aim) return ''
  return 'atLeast' in aim ? `>= ${withUnit(aim.atLeast, unit)}` : `<= ${withUnit(aim.atMost, unit)}`
}

/** A value to three digits, with its unit. */
export function withUnit(value: number, unit: Figure['unit']): string {
  return `${shorten(value)} ${unit}`.trimEnd()
}

function shorten(value: number): string {
  if (Number.isNaN(value)) return '-'
  // No zeros behind, and no exponent.
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)))
}

function describeMet(figure: Figure): string {
  const met = isMet(figure)
  if (met === null) return ''
  return met ? 'yes' : 'NO'
}
