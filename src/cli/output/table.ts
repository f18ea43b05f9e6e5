/** Columns for people. */

/** Rows as aligned lines, two spaces between columns, none at the end. */
export function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, Bun.stringWidth(cell));
    });
  }
  return rows.map((row) =>
    row
      .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - Bun.stringWidth(cell)))
      .join('  ')
      .trimEnd(),
  );
}

/** Records as a table with a heading; columns in the order of the first record that has them. */
export function recordTable(records: readonly Readonly<Record<string, unknown>>[]): string[] {
  const columns = [...new Set(records.flatMap((record) => Object.keys(record)))];
  if (columns.length === 0) return [];
  return alignColumns([
    columns.map((column) => column.toUpperCase()),
    ...records.map((record) => columns.map((column) => cellText(record[column]))),
  ]);
}

function cellText(value: unknown): string {
  if (value === null || value === undefined) return '-';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.map(cellText).join(',');
  if (typeof value === 'object') {
    return Object.entries(value)
      .map(([key, inner]) => `${key}:${cellText(inner)}`)
      .join(' ');
  }
  return String(value);
}
