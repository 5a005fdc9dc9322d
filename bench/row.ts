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
  /** Of other servers, by their names. */
  readonly rivals?: Readonly<Record<string, readonly number[]>>;
  readonly budget?: Budget;
  /** How it was measured, if the title does not say it. */
  readonly note?: string;
}

/** The samples of a row. */
export type Values = Pick<Row, "peer" | "davit" | "rivals">;

/** One of the servers that are compared, with its pods. */
export interface Side {
  readonly server: Server;
  readonly pods: Pods;
}

/** The servers and options of every group of rows. */
export interface Bench {
  readonly peer: Side;
  readonly davit: Side;
  /** Servers that the bench does not run and that are held beside; none for a group that is not `withRivals`. */
  readonly rivals: readonly Side[];
  /** Starts one more davit of the same build, with more lines of configuration, until it is disposed of. */
  readonly startDavit: (options: {
    readonly name: string;
    readonly cni?: readonly string[];
    readonly more?: readonly string[];
  }) => Promise<Side & AsyncDisposable>;
  readonly rounds: number;
  /** For files of the bench itself; on the disk, and the same outside of the bench's namespaces. */
  readonly directory: string;
  /** Images whose titles lack this are not measured. */
  readonly image: string;
  /** Prints the progress on one line. */
  say(what: string): void;
}

/** Rows that are measured together. They leave both servers running and without pods. */
export interface RowGroup {
  readonly name: string;
  /** Servers that the bench cannot start again are measured too. */
  readonly withRivals?: true;
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

  /** Those of a row. */
  of(bench: Bench, name: Name): Values {
    const values = (side: Side): readonly number[] =>
      this.#values.get(`${side.server.name} ${name}`) ?? [];
    const rivals = bench.rivals.map((side) => [side.server.name, values(side)] as const);
    return {
      peer: values(bench.peer),
      davit: values(bench.davit),
      ...(rivals.length > 0 && { rivals: Object.fromEntries(rivals) }),
    };
  }
}

/** All servers of a bench. */
export function sidesOf({ peer, rivals, davit }: Bench): readonly Side[] {
  return [peer, ...rivals, davit];
}

/** Runs `work` on all servers in turn, so that other load on the machine affects all of them. */
export async function alternate(
  bench: Bench,
  rounds: number,
  work: (side: Side, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    bench.say(`round ${round + 1} of ${rounds}`);
    for (const side of sidesOf(bench)) await work(side, round);
  }
}
