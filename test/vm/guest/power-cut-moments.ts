/** What the boots of the power-cut test tell each other. They do so through the host: no write or sync of theirs touches the disk. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

/** The number of moments at which the power is cut: those of power-cut.ts. */
export const momentCount = 9;

/** What the next boot must find. */
export interface Told {
  /** The moment of the cut. */
  readonly moment: string;
  /** Names of images that must be there. Others may be, and must be whole then. */
  readonly whole: readonly string[];
  /** Names of images that must not be there. */
  readonly absent: readonly string[];
  /** Sandboxes and containers that must be there. */
  readonly pods: readonly string[];
  readonly containers: readonly string[];
  /**
   * Records of new pods can be lost. The notes of their networks and the files of their addresses can then be empty, or have
   * a wrong content.
   */
  readonly hasNewPods: boolean;
}

const nothing: Told = {
  moment: "none",
  whole: [],
  absent: [],
  pods: [],
  containers: [],
  hasNewPods: false,
};

/** The number of this boot, from 1. */
export function bootNumber(): number {
  return Number(wordOf("boot"));
}

/** What the boot before told. */
export function readTold(): Told {
  const file = path.join(path.dirname(wordOf("tests")), `output-${bootNumber() - 1}.log`);
  if (!existsSync(file)) return nothing;
  const [, json] = /^davit-vm: told (.*)$/m.exec(readFileSync(file, "utf8")) ?? [];
  if (json === undefined) throw new Error(`"${file}" does not say what the boot before has done`);
  return JSON.parse(json) as Told;
}

/** A word of the kernel's command line. */
function wordOf(name: string): string {
  const line = readFileSync("/proc/cmdline", "utf8");
  const [, value = ""] = new RegExp(`davit\\.${name}=(\\S+)`).exec(line) ?? [];
  return value;
}
