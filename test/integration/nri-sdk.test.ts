/** The SDK for NRI plugins: its package, which a plugin's author installs, and its examples on davit. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { pluginNames } from "../support/nri.ts";
import { patient } from "../support/patience.ts";
import { Node } from "../support/suites/containers.ts";
import {
  exampleTests,
  installAdjuster,
  type RuntimeWithPlugins,
} from "../support/suites/nri-examples.ts";

const repo = path.resolve(import.meta.dirname, "../..");
const directory = mkdtempSync(path.join(tmpdir(), "davit-sdk-"));
const modules = path.join(directory, "node_modules");

/** A plugin that uses most of the types. */
const consumer = `
import { adjust, type Container, evict, type Handlers, type NriPlugin, plugin, update } from "davit/nri";

const limitOf = (container: Container): bigint | undefined => container.linux?.resources?.memory?.limit;
const handlers: Handlers = {
  configure: ({ config, unsupported }) => (config === "" ? undefined : [...unsupported]),
  synchronize: ({ containers }) => containers.map(({ id }) => update(id).cpuShares(2)),
  createContainer({ pod, container, signal }) {
    signal.throwIfAborted();
    if (pod.labels["skip"] === "yes") return;
    const adjustment = adjust().env("LIMIT", String(limitOf(container) ?? "none")).rlimit("RLIMIT_NOFILE", { soft: 1, hard: "unlimited" });
    return { adjust: adjustment, evict: [evict("c9", "test")] };
  },
  updateContainer: async ({ container: { id } }) => [update(id).memoryLimit(1n)],
  stopContainer() {},
  validateContainerAdjustment({ adjust: adjustment }) {
    if (adjustment?.linux?.seccompPolicy !== undefined) throw new Error("no");
  },
};
const made: NriPlugin = plugin({ ...handlers, name: "consumer", index: 5, reconnect: { maxDelayMs: 5 } });
console.log(made.index, made.name, JSON.stringify(adjust().env("A", "b").build().env));
`;

/** What the declarations need of a platform, and the plugin above. @types/node has it, and takes seconds to check. */
const globals = `
declare global {
  interface AbortSignal { throwIfAborted(): void }
  const console: { log(...values: unknown[]): void };
}
export {};
`;

/** What must not compile. */
const mistakes = `
import { adjust, plugin } from "davit/nri";
// @ts-expect-error: no such limit
adjust().rlimit("NOFILE", { soft: 1, hard: 1 });
// @ts-expect-error: no such event
plugin({ createContainers: () => undefined });
// @ts-expect-error: not an answer
plugin({ createContainer: () => 5 });
`;

before(() => {
  mkdirSync(modules);
  // As npm installs it, without what it does not name.
  cpSync(path.join(repo, "dist/nri"), path.join(modules, "davit"), { recursive: true });
  writeFileSync(path.join(directory, "globals.d.mts"), globals);
  writeFileSync(path.join(directory, "consumer.mts"), consumer);
  writeFileSync(path.join(directory, "mistakes.mts"), mistakes);
  const document = readFileSync(path.join(repo, "docs/nri-sdk.md"), "utf8");
  for (const [index, [, text = ""]] of [...document.matchAll(/^```ts\n(.*?)^```/gms)].entries()) {
    writeFileSync(path.join(directory, `document-${index}.mts`), text);
  }
});
after(() => rmSync(directory, { recursive: true }));

describe("the package davit/nri", () => {
  test("has types for strict consumers, and for older ones", () => {
    const strict = {
      target: "es2022",
      module: "nodenext",
      lib: ["es2022"],
      types: [],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      noPropertyAccessFromIndexSignature: true,
      verbatimModuleSyntax: true,
      skipLibCheck: false,
      noEmit: true,
    };
    const config = { compilerOptions: strict, include: ["*.mts"] };
    writeFileSync(path.join(directory, "tsconfig.json"), JSON.stringify(config));
    run(path.join(repo, "node_modules/typescript/bin/tsc"), "-p", directory);
  });

  test("runs without dependencies, also where Promise.withResolvers is missing, as in Node 20", () => {
    const older = path.join(directory, "older.mjs");
    writeFileSync(older, "delete Promise.withResolvers;\n");
    const output = run("--import", older, path.join(directory, "consumer.mts"));
    assert.equal(output, '05 consumer [{"key":"A","value":"b"}]\n');
  });
});

describe("on davit", () => {
  let node: Node;

  before(async () => {
    const plugins = path.join(directory, "plugins");
    installAdjuster(plugins);
    const timeouts = {
      // Plugins are programs of Node.js, and the machine may be slow.
      plugin_registration_timeout: patient(30),
      plugin_request_timeout: patient(30),
    };
    const nri = { enable: true, plugin_path: plugins, ...timeouts };
    node = await Node.startWithBusybox({ config: { nri } });
  });
  const runtime = (): RuntimeWithPlugins => ({
    client: node.daemon.client,
    nriSocket: node.daemon.paths.nriSocket,
    isConnected: async (plugin) => (await pluginNames(node.daemon)).includes(plugin),
  });
  exampleTests(runtime, directory);
  after(() => node[Symbol.asyncDispose]());
});

function run(...args: readonly string[]): string {
  try {
    return execFileSync(process.execPath, args, {
      cwd: directory,
      encoding: "utf8",
      stdio: "pipe",
      // The compiler would keep its own code below TMPDIR.
      env: { ...process.env, NODE_DISABLE_COMPILE_CACHE: "1" },
    });
  } catch (error) {
    const { stdout, stderr } = error as { readonly stdout: string; readonly stderr: string };
    assert.fail(stdout + stderr);
  }
}
