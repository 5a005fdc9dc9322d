/** A number with its noun: "1 pod", "2 pods". For nouns whose plural ends with s. */
export function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
