/** A problem as the command line words it ("no artist called X"), as a sentence for the page. */
export function sentence(words: string): string {
  const trimmed = words.trim();
  if (!trimmed) return "";
  const first = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(first) ? first : `${first}.`;
}
