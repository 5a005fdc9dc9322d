import { RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";

/** Value of the capability "bandwidth" (CNI conventions). Rates in bits per second, bursts in bits. */
interface Bandwidth {
  readonly ingressRate?: number;
  readonly ingressBurst?: number;
  readonly egressRate?: number;
  readonly egressBurst?: number;
}

// The bounds that Kubernetes sets for these annotations (pkg/util/bandwidth): 1 kbit to 1 Pbit.
const leastRate = 1_000n;
const mostRate = 1_000_000_000_000_000n;

// The annotations have no burst, and the plugin requires one: as much as fits a 32-bit number, which
// is also what CRI-O uses. Bits.
const anyBurst = 2_147_483_647;

const suffixes: Readonly<Record<string, readonly [base: bigint, exponent: number]>> = {
  n: [10n, -9],
  u: [10n, -6],
  m: [10n, -3],
  "": [10n, 0],
  k: [10n, 3],
  M: [10n, 6],
  G: [10n, 9],
  T: [10n, 12],
  P: [10n, 15],
  E: [10n, 18],
  Ki: [2n, 10],
  Mi: [2n, 20],
  Gi: [2n, 30],
  Ti: [2n, 40],
  Pi: [2n, 50],
  Ei: [2n, 60],
};

const quantityPattern =
  /^([+-]?)(\d{0,40})(?:\.(\d{0,40}))?(?:[eE]([+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i))?$/;

/**
 * Reads a Kubernetes resource quantity ("10M", "1.5Gi", "2e6") as a whole number, rounded away from
 * zero as Kubernetes rounds it. Undefined when it is not one.
 */
export function parseQuantity(text: string): bigint | undefined {
  const match = quantityPattern.exec(text);
  if (match === null) return undefined;
  const [, sign, whole = "", fraction = "", power, suffix = ""] = match;
  if (whole === "" && fraction === "") return undefined;
  const [base, exponent] =
    power === undefined ? (suffixes[suffix] ?? [10n, 0]) : [10n, Number(power)];
  let numerator = BigInt(whole + fraction);
  let denominator = 10n ** BigInt(fraction.length);
  if (exponent >= 0) numerator *= base ** BigInt(exponent);
  else denominator *= base ** BigInt(-exponent);
  const rounded = (numerator + denominator - 1n) / denominator;
  return sign === "-" ? -rounded : rounded;
}

function parseRate(
  annotations: Readonly<Record<string, string>>,
  name: string,
): number | undefined {
  const text = annotations[name];
  if (text === undefined) return undefined;
  const rate = parseQuantity(text);
  if (rate === undefined) {
    throw new RuntimeError(
      "invalid-argument",
      `parse annotation "${name}": it must be bits per second as a quantity such as "10M"; it is ${quote(text)}`,
    );
  }
  if (rate < leastRate || rate > mostRate) {
    throw new RuntimeError(
      "invalid-argument",
      `parse annotation "${name}": it must be 1k to 1P bits per second; it is ${quote(text)}`,
    );
  }
  return Number(rate);
}

/**
 * The bandwidth that a pod's annotations ask for; undefined when they ask for none. Throws
 * `invalid-argument` for values that are not quantities or out of the bounds of Kubernetes.
 */
export function podBandwidth(annotations: Readonly<Record<string, string>>): Bandwidth | undefined {
  const ingressRate = parseRate(annotations, "kubernetes.io/ingress-bandwidth");
  const egressRate = parseRate(annotations, "kubernetes.io/egress-bandwidth");
  if (ingressRate === undefined && egressRate === undefined) return undefined;
  return {
    ...(ingressRate !== undefined && { ingressRate, ingressBurst: anyBurst }),
    ...(egressRate !== undefined && { egressRate, egressBurst: anyBurst }),
  };
}
