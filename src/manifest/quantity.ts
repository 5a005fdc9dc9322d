const suffixes: Readonly<Record<string, number>> = {
  "": 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/**
 * The value of a Kubernetes quantity: a decimal number with a suffix for a power of 1000 or 1024,
 * or with an exponent. undefined for an invalid quantity.
 */
export function parseQuantity(text: string): number | undefined {
  const match = /^(\d+(?:\.\d*)?|\.\d+)(?:[eE](\d{1,2})|(m|k|[MGTPE]i?|Ki)?)$/.exec(text);
  if (match === null) return undefined;
  const [, digits = "", exponent, suffix = ""] = match;
  return (
    Number(digits) * (exponent === undefined ? (suffixes[suffix] ?? 1) : 10 ** Number(exponent))
  );
}
