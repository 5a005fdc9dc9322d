/** The results that measurements pass to the report. */
import type { Pods } from "./pods.ts";
import type { Server } from "./server.ts";

/** What a row promises: davit's p50 divided by the peer's, or davit's own p50 or p99. */
export type Budget =
  | { readonly of: "ratio"; readonly atMost: number }
  | { readonly of: "ratio"; readonly atLeast: number }
  | { readonly of: "p50" | "p99"; readonly atMost: number };

/** One thing that was measured. */
export interface Row {
  readonly title: string;
  readonly unit: string;
  /** Empty if there is nothing to compare with. */
  readonly peer: readonly number[];
  readonly davit: readonly number[];
  readonly budget?: Budget;
  /** How it was measured, if the title does not say it. */
  readonly note?: string;
}

/** One of the two servers that are compared, with its pods. */
export interface Side {
  readonly server: Server;
  readonly pods: Pods;
}

/** The servers and options of every group of rows. */
export interface Bench {
  readonly peer: Side;
  readonly davit: Side;
  readonly rounds: number;
  /** Images whose titles lack this are not measured. */
  readonly image: string;
  /** Prints the progress on one line. */
  say(what: string): void;
}

/** Rows that are measured together. They leave both servers running and without pods. */
export interface RowGroup {
  readonly name: string;
  readonly measure: (bench: Bench) => Promise<readonly Row[]>;
}

/** Samples of both sides under one name for each thing that is measured. */
export class Samples<Name extends string> {
  readonly #values = new Map<string, number[]>();

  add(side: Side, name: Name, value: number): void {
    const key = `${side.server.name} ${name}`;
    const values = this.#values.get(key) ?? [];
    values.push(value);
    this.#values.set(key, values);
  }

  /** The two halves of a row. */
  of(bench: Bench, name: Name): Pick<Row, "peer" | "davit"> {
    const values = (side: Side): readonly number[] =>
      this.#values.get(`${side.server.name} ${name}`) ?? [];
    return { peer: values(bench.peer), davit: values(bench.davit) };
  }
}

/** Runs `work` on the peer and on davit in turn, so that other load on the machine affects both. */
export async function alternate(
  bench: Bench,
  rounds: number,
  work: (side: Side, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    bench.say(`round ${round + 1} of ${rounds}`);
    for (const side of [bench.peer, bench.davit]) await work(side, round);
  }
}
