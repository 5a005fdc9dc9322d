/**
 * A test file can run in several variants: the same suite, with other variables in its environment. The file
 * declares them in a line of its own, after the comment at its head:
 *
 *     // variants: shim, runc
 *
 * It then runs once as it is and once in each of these variants. `test/integration/container.test.ts (shim)`
 * is the name of such a run. Suites read the variables in test/support/suites/containers.ts, and
 * TestDaemon that of the network.
 */
import { readFileSync } from "node:fs";

/** The environment of each variant. */
const environments = {
  /** The default handler runs containers with a containerd shim. */
  shim: { DAVIT_TEST_HANDLER: "shim" },
  /** The default handler is runc instead of crun. */
  runc: { DAVIT_TEST_HANDLER: "runc" },
  /** The daemon runs with `tuning.enable = false`. */
  untuned: { DAVIT_TEST_TUNING: "off" },
  /** conmon monitors the containers: the daemon runs with `runtime.monitor = "conmon"`. */
  conmon: { DAVIT_TEST_MONITOR: "conmon" },
  /** The daemon runs with `cni.builtin = false`, so that the plugins make the network. */
  plugins: { DAVIT_TEST_CNI_BUILTIN: "off" },
} as const satisfies Readonly<Record<string, NodeJS.ProcessEnv>>;

/** One run of a test file. */
export interface TestRun {
  /** Path of the file, relative to the root of the repository. */
  readonly file: string;
  /** The path, followed by the variant in parentheses if there is one. Filters and reports use it. */
  readonly name: string;
  /** What the variant adds to the environment. */
  readonly env: NodeJS.ProcessEnv;
}

/**
 * All runs of a test file, the one without a variant first. Throws on a variant that does not exist.
 * `text` is the content of the file.
 */
export function runsOf(file: string, text = readFileSync(file, "utf8")): readonly TestRun[] {
  const runs: TestRun[] = [{ file, name: file, env: {} }];
  const declared = /^\/\/ variants: (.*)$/m.exec(text)?.[1];
  for (const variant of declared?.split(", ") ?? []) {
    if (!isVariant(variant)) {
      const known = Object.keys(environments).join(", ");
      throw new Error(`read the variants of ${file}: "${variant}" is not one of ${known}`);
    }
    runs.push({ file, name: `${file} (${variant})`, env: environments[variant] });
  }
  return runs;
}

function isVariant(word: string): word is keyof typeof environments {
  return Object.hasOwn(environments, word);
}
