/** The name that was probably meant, or null when none is close. */
export function nearest(name: string, known: Iterable<string>): string | null {
  const wanted = name.toLowerCase().replaceAll(/[-_]/g, '');
  let best: string | null = null;
  // A third of the letters may differ; more is another word.
  let bestDistance = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(wanted, candidate.toLowerCase().replaceAll('_', ''));
    if (distance < bestDistance) {
      bestDistance = distance;
      best = candidate;
    }
  }
  return best;
}

/** Levenshtein, one row at a time. */
function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 16) return Infinity;
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replace, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** " Did you mean 'x'?", or nothing. */
export function suggestion(name: string, known: Iterable<string>): string {
  const best = nearest(name, known);
  return best === null ? '' : ` Did you mean '${best}'?`;
}
