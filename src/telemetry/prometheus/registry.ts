import { bucketLabel, escapeHelp, formatValue, labelText } from "./exposition.ts";

/** The types of the text format that this registry has. */
export type MetricType = "counter" | "gauge" | "histogram" | "summary";

/** What a family is, as its HELP and TYPE lines say. */
export interface FamilyInfo {
  /** Prometheus' name: letters, digits and underscores; counters end with `_total`. */
  readonly name: string;
  readonly help: string;
  /** The names of the labels, in the order of the values. */
  readonly labels: readonly string[];
  readonly type: MetricType;
}

/** The parts of a family that its creator chooses. */
export type FamilyOptions = Pick<FamilyInfo, "name" | "help"> & {
  readonly labels?: readonly string[];
};

/** A value that is computed at a scrape. */
export interface Sample {
  readonly value: number;
  /** The values of the first labels of the family; the other labels are left out. */
  readonly labels?: readonly string[];
  /** Of summaries. */
  readonly suffix?: "_sum" | "_count";
}

/** A number that only grows. */
export class Counter {
  #value = 0;

  get value(): number {
    return this.#value;
  }

  add(amount = 1): void {
    this.#value += amount;
  }
}

/** Counts values in buckets. Recording a value allocates nothing. */
export class Histogram {
  readonly #bounds: Float64Array;
  /** The values in each bucket, not cumulative. The last bucket has no upper bound. */
  readonly #counts: Float64Array;
  /** In an array, where V8 updates a double in place. */
  readonly #sum = new Float64Array(1);

  /** @param bounds the upper bounds of the buckets, growing, without +Inf */
  constructor(bounds: readonly number[]) {
    this.#bounds = Float64Array.from(bounds);
    this.#counts = new Float64Array(bounds.length + 1);
  }

  /** Records a value; a negative one, as after a step of the clock, counts as 0. */
  observe(value: number): void {
    const bounds = this.#bounds;
    let at = 0;
    while (at < bounds.length && value > (bounds[at] ?? 0)) at++;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    if (value > 0) this.#sum[0] = (this.#sum[0] ?? 0) + value;
  }

  get count(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  get sum(): number {
    return this.#sum[0] ?? 0;
  }

  /** The buckets as Prometheus counts them: all values up to the bound. The last bound is infinite. */
  *buckets(): Iterable<readonly [bound: number, count: number]> {
    let below = 0;
    for (const [at, count] of this.#counts.entries()) {
      below += count;
      yield [this.#bounds[at] ?? Number.POSITIVE_INFINITY, below];
    }
  }
}

/** The series of one name, by the values of their labels. Created by a {@link Registry}. */
export class Family<T> {
  readonly #labels: readonly string[];
  readonly #create: () => T;
  readonly #series = new Map<string, T>();

  constructor(labels: readonly string[], create: () => T) {
    this.#labels = labels;
    this.#create = create;
  }

  /**
   * The series with these label values, created at the first call. Looking it up builds a string: where
   * values are recorded often, look it up once. The caller bounds the number of different values.
   */
  with(...values: readonly string[]): T {
    if (values.length !== this.#labels.length) {
      throw new Error(`a series needs values for the labels ${this.#labels.join(", ")}`);
    }
    const key = labelText(this.#labels, values);
    const known = this.#series.get(key);
    if (known !== undefined) return known;
    const created = this.#create();
    this.#series.set(key, created);
    return created;
  }

  /** The series by the text of their labels, `a="x",b="y"`. */
  entries(): Iterable<readonly [labels: string, series: T]> {
    return this.#series.entries();
  }
}

interface Registered extends FamilyInfo {
  readonly lines: () => Iterable<string>;
}

const namePattern = /^[a-z][a-z0-9_]*$/;

/**
 * All series of a process, and their text in the Prometheus text format 0.0.4. It does no I/O. Families are
 * registered at the start; a second one with a name, and an invalid name, are errors of the program.
 */
export class Registry {
  readonly #families = new Map<string, Registered>();

  counter(options: FamilyOptions): Family<Counter> {
    const { name, labels = [] } = options;
    const family = new Family(labels, () => new Counter());
    this.#add({ ...options, labels, type: "counter", lines: () => counterLines(name, family) });
    return family;
  }

  histogram(options: FamilyOptions, bounds: readonly number[]): Family<Histogram> {
    const { name, labels = [] } = options;
    const family = new Family(labels, () => new Histogram(bounds));
    this.#add({ ...options, labels, type: "histogram", lines: () => histogramLines(name, family) });
    return family;
  }

  /** A family whose samples `read` returns at each scrape. */
  computed(
    type: "counter" | "gauge" | "summary",
    options: FamilyOptions,
    read: () => Iterable<Sample>,
  ): void {
    const { name, labels = [] } = options;
    this.#add({ ...options, labels, type, lines: () => sampleLines(name, labels, read()) });
  }

  /** What is registered, by name. */
  families(): readonly FamilyInfo[] {
    return [...this.#families.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The text of all series. Families without a series are left out. */
  text(): string {
    let text = "";
    for (const { name, help, type, lines } of this.#families.values()) {
      let head = `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n`;
      for (const line of lines()) {
        text += `${head}${line}\n`;
        head = "";
      }
    }
    return text;
  }

  #add(family: Registered): void {
    const { name, labels } = family;
    const bad = [name, ...labels].find((each) => !namePattern.test(each));
    if (bad !== undefined) throw new Error(`register metric "${name}": "${bad}" is not a name`);
    if (this.#families.has(name)) throw new Error(`register metric "${name}": it exists`);
    this.#families.set(name, family);
  }
}

function* counterLines(name: string, family: Family<Counter>): Iterable<string> {
  for (const [labels, { value }] of family.entries()) {
    yield `${name}${braces(labels)} ${formatValue(value)}`;
  }
}

function* histogramLines(name: string, family: Family<Histogram>): Iterable<string> {
  for (const [labels, histogram] of family.entries()) {
    const before = labels === "" ? "" : `${labels},`;
    let total = 0;
    for (const [bound, count] of histogram.buckets()) {
      yield `${name}_bucket{${before}${bucketLabel(bound)}} ${formatValue(count)}`;
      total = count;
    }
    yield `${name}_sum${braces(labels)} ${formatValue(histogram.sum)}`;
    yield `${name}_count${braces(labels)} ${formatValue(total)}`;
  }
}

function* sampleLines(
  name: string,
  labels: readonly string[],
  samples: Iterable<Sample>,
): Iterable<string> {
  for (const { value, labels: values = [], suffix = "" } of samples) {
    yield `${name}${suffix}${braces(labelText(labels, values))} ${formatValue(value)}`;
  }
}

function braces(labels: string): string {
  return labels === "" ? "" : `{${labels}}`;
}
