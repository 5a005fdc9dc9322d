/**
 * Which code an input reaches, by V8's block coverage. A mutated input that reaches new code becomes a part of the
 * corpus. Taking the coverage costs about a millisecond, so it is taken once for a batch of inputs.
 */
import { Session } from "node:inspector";

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

interface ScriptCoverage {
  readonly url: string;
  readonly functions: readonly { readonly ranges: readonly Range[] }[];
}

/** Offsets from and to, in order and apart. */
type Intervals = readonly (readonly [number, number])[];

/** Collects what was reached so far. */
export class Coverage {
  readonly #session = new Session();
  readonly #isMeasured: (url: string) => boolean;
  /** What was not reached yet, by function. */
  readonly #missing = new Map<string, Intervals>();

  constructor(isMeasured: (url: string) => boolean) {
    this.#isMeasured = isMeasured;
    this.#session.connect();
    this.#post("Profiler.enable", undefined);
    this.#post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  /** Functions that were reached at least in part. */
  get functions(): number {
    return this.#missing.size;
  }

  /**
   * Whether code was reached since the last call that was never reached before. It counts as reached from now on,
   * unless `isTrial`.
   */
  hasNew(isTrial = false): boolean {
    const { result } = this.#post("Profiler.takePreciseCoverage", undefined) as {
      readonly result: readonly ScriptCoverage[];
    };
    let isNew = false;
    for (const { url, functions } of result) {
      if (!this.#isMeasured(url)) continue;
      for (const { ranges } of functions) isNew = this.#add(url, ranges, isTrial) || isNew;
    }
    return isNew;
  }

  close(): void {
    this.#session.disconnect();
  }

  #add(url: string, ranges: readonly Range[], isTrial: boolean): boolean {
    const [whole] = ranges;
    if (whole === undefined || whole.count === 0) return false;
    const key = `${url} ${whole.startOffset} ${whole.endOffset}`;
    const missing = notReached(ranges);
    const before = this.#missing.get(key);
    const after = before === undefined ? missing : common(before, missing);
    if (!isTrial) this.#missing.set(key, after);
    return before === undefined || length(after) < length(before);
  }

  #post(method: string, parameters: object | undefined): unknown {
    let answer: unknown;
    // In the same thread, the answer is there when post() returns.
    this.#session.post(method, parameters, (error, result) => {
      if (error !== null) throw new Error(`${method}: ${error.message}`);
      answer = result;
    });
    return answer;
  }
}

/** The blocks with a count of 0; blocks are nested, and the inner one counts. */
function notReached(ranges: readonly Range[]): Intervals {
  const found: [number, number][] = [];
  for (const { startOffset, endOffset, count } of ranges) {
    if (count > 0) continue;
    const last = found.at(-1);
    if (last !== undefined && startOffset < last[1]) continue;
    found.push([startOffset, endOffset]);
  }
  return found;
}

function common(a: Intervals, b: Intervals): Intervals {
  const found: [number, number][] = [];
  for (let [i, j] = [0, 0]; i < a.length && j < b.length; ) {
    const [[fromA = 0, toA = 0] = [], [fromB = 0, toB = 0] = []] = [a[i], b[j]];
    const [from, to] = [Math.max(fromA, fromB), Math.min(toA, toB)];
    if (from < to) found.push([from, to]);
    if (toA < toB) i++;
    else j++;
  }
  return found;
}

function length(intervals: Intervals): number {
  return intervals.reduce((sum, [from, to]) => sum + to - from, 0);
}
