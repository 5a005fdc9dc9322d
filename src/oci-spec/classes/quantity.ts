// The whole numbers that suffixes stand for, and those below one as their divisors (Kubernetes, resource.Quantity).
const factors: ReadonlyMap<string, bigint> = new Map([
  ["", 1n],
  ...["k", "M", "G", "T", "P", "E"].map(
    (suffix, index) => [suffix, 1000n ** power(index)] as const,
  ),
  ...["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].map(
    (suffix, index) => [suffix, 1024n ** power(index)] as const,
  ),
]);
const divisors: ReadonlyMap<string, bigint> = new Map([
  ["m", 1000n],
  ["u", 1000n ** 2n],
  ["n", 1000n ** 3n],
]);

function power(index: number): bigint {
  return BigInt(index + 1);
}

/**
 * The value of a Kubernetes quantity such as `50M`, `1.5Gi` or `2e3`, rounded up to a whole number; undefined for
 * anything else and for one that 63 bits cannot hold.
 */
export function parseQuantity(text: string): bigint | undefined {
  const parts = /^\+?(\d{1,20})(?:\.(\d{0,20}))?(?:[eE]([+-]?\d{1,2})|([numkKMGTPE]i?)?)$/.exec(
    text,
  );
  if (parts === null) return undefined;
  const [, whole = "", decimals = "", exponent, suffix = ""] = parts;
  const factor = factors.get(suffix);
  const divisor = divisors.get(suffix);
  if (factor === undefined && divisor === undefined) return undefined;
  const shift = Number(exponent ?? 0) - decimals.length;
  const ten = 10n ** BigInt(Math.abs(shift));
  const above = BigInt(whole + decimals) * (factor ?? 1n) * (shift > 0 ? ten : 1n);
  const below = (divisor ?? 1n) * (shift < 0 ? ten : 1n);
  const value = (above + below - 1n) / below;
  return value < 2n ** 63n ? value : undefined;
}
