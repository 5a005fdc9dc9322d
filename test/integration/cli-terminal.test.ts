/** The davit command in a pseudo-terminal: colours, progress bars and completions. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { Davit, program } from "../support/suites/cli.ts";
import { busybox, Node } from "../support/suites/containers.ts";
import { until } from "../support/suites/pods.ts";
import { imageOf, layerOf } from "../support/images.ts";

let node: Node;
let davit: Davit;
before(async () => {
  node = await Node.startWithBusybox();
  davit = new Davit(node.daemon);
});
after(async () => {
  await node[Symbol.asyncDispose]();
});

const escape = "\u001b[";

/** A command in a pseudo-terminal (script(1)); `seen` is what came so far. */
function inTerminal(
  words: readonly string[],
  env: Readonly<Record<string, string>> = {},
  columns = 100,
) {
  const quoted = [program, ...words].map((word) => `'${word}'`).join(" ");
  const child = spawn("script", ["-qec", `stty cols ${columns}; ${quoted}`, "/dev/null"], {
    stdio: ["pipe", "pipe", "inherit"],
    env: {
      ...process.env,
      NODE_TEST_CONTEXT: undefined,
      NO_COLOR: undefined,
      TERM: "xterm",
      DAVIT_ENDPOINT: `unix://${node.daemon.paths.socket}`,
      ...env,
    },
  });
  const seen = { text: "" };
  child.stdout.on("data", (chunk: Buffer) => (seen.text += String(chunk)));
  return { child, seen, ended: once(child, "close") as Promise<[number]> };
}

async function show(words: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { seen, ended } = inTerminal(words, env);
  const [code] = await ended;
  return { code, text: seen.text };
}

test("davit colours its tables on a terminal, and not with NO_COLOR or TERM=dumb", async () => {
  const coloured = await show(["images"]);
  assert.ok(coloured.text.includes(`${escape}1mIMAGE${escape}22m`), coloured.text);
  for (const env of [{ NO_COLOR: "1" }, { TERM: "dumb" }] as const) {
    const plain = await show(["images"], env);
    assert.equal(plain.text.includes(escape), false);
    assert.equal(plain.text, stripVTControlCharacters(coloured.text));
  }
  const failed = await show(["logs", "nothing"]);
  assert.equal(failed.code, 3);
  assert.ok(failed.text.includes(`${escape}31mdavit:${escape}39m`), failed.text);
});

test("davit breaks the cells of a table at words where the terminal is narrow", async () => {
  const { seen, ended } = inTerminal(["images"], { NO_COLOR: "1" }, 48);
  assert.deepEqual(await ended, [0, null]);
  const lines = seen.text.trimEnd().split("\r\n");
  assert.ok(
    lines.every(({ length }) => length <= 48),
    seen.text,
  );
  assert.match(seen.text, /^IMAGE .*\r\nregistry\.k8s\.io\/ +1 +\w{12} +\S+\r\ne2e\/busybox\r\n$/);
  const piped = await davit.done("images");
  assert.match(piped, /\nregistry\.k8s\.io\/e2e\/busybox +1 /, "no terminal, no width");
});

test("davit pull draws a bar for each layer, with the bytes that were received", async () => {
  const big = layerOf([{ path: "big", body: Buffer.alloc(3_000_000, "x") }], "none");
  const small = layerOf([{ path: "small", body: "s" }]);
  await node.registry.push("e2e/layers", imageOf([big, small]), ["1"]);
  const release = node.registry.hold(new RegExp(`blobs/${big.digest}`), 1_500_000);
  const { seen, ended } = inTerminal(["pull", "registry.k8s.io/e2e/layers:1"]);
  try {
    const id = big.digest.slice("sha256:".length, "sha256:".length + 12);
    await until("half of the layer came", () =>
      new RegExp(`${id} +\\[=+> +\\] +1\\.\\dMB / 3\\.0MB`).test(seen.text),
    );
    await until("the small one is done", () =>
      /done +\d+B/.test(stripVTControlCharacters(seen.text)),
    );
  } finally {
    release();
  }
  assert.deepEqual(await ended, [0, null]);
  const last = seen.text.slice(seen.text.lastIndexOf(`${escape}J`) + 3);
  assert.match(
    last,
    /^registry\.k8s\.io\/e2e\/layers:1: \w{12}, 3\.0MB, \S+ \w+\r\n$/,
    "the bars are gone",
  );
  await davit.done("rmi", "registry.k8s.io/e2e/layers:1");
});

test("davit run shows what each pod is doing, and leaves a line for each", async () => {
  const pod = (name: string, policy = ""): string =>
    `{apiVersion: v1, kind: Pod, metadata: {name: ${name}}, spec: {${policy}containers: [{name: c, image: "${busybox}", imagePullPolicy: Never, command: [sleep, "1000"]}]}}`;
  const file = davit.manifest(`${pod("a")}\n---\n${pod("b", "restartPolicy: OnFailure, ")}\n`);
  const { code, text } = await show([
    "run",
    "--wait",
    "--pods-directory",
    davit.podsDirectory,
    file,
  ]);
  assert.equal(code, 0, text);
  const plain = stripVTControlCharacters(text);
  assert.match(plain, /\S default\/a {2}waiting until containers run/);
  for (const name of ["a", "b"]) assert.match(plain, new RegExp(`\u2713 default/${name} +\\d`));
  const notes = plain.match(/note: davit run does not restart containers, unlike kubelet \(.*\)/g);
  assert.deepEqual(
    notes,
    ["note: davit run does not restart containers, unlike kubelet (restartPolicy OnFailure)"],
    "once, and not of the pod that says nothing of it",
  );

  const stats = await davit.done("stats", "--interval", "1.2s", "a");
  assert.match(
    stats,
    /^CONTAINER +POD +NAME +CPU +MEMORY +DISK +NET RX +NET TX\n\w{12} +a +c +\d+\.\d% +\S+B +\S+B +\S+B +\S+B\n$/,
  );
  assert.match(await davit.done("stats", "-o", "json"), /"usageCoreNanoSeconds"/);
  for (const [words, expected] of [
    [["logs", ""], "a\nb\na/c\nb/c\n"],
    [["logs", "b"], "b\nb/c\n"],
    [["ps", "--namespace", ""], "default\n"],
    [["stats", "--interval", ""], ""],
    [["run", ""], `:file\n${busybox}\n`],
  ] as const) {
    const offered = await davit.done("__complete", ...words);
    assert.deepEqual(offered.split("\n").sort(), expected.split("\n").sort(), words.join(" "));
  }
  await davit.done("down", "-t", "0", file);
});

test("davit logs -f ends quietly with Ctrl-C", async () => {
  const file = davit.manifest(
    `{apiVersion: v1, kind: Pod, metadata: {name: talk}, spec: {restartPolicy: Never, containers: [{name: c, image: "${busybox}", imagePullPolicy: Never, command: [sh, -c, "echo hello; sleep 1000"]}]}}`,
  );
  await davit.done("run", file);
  const { child, seen, ended } = inTerminal(["logs", "-f", "talk"]);
  await until("it speaks", () => seen.text.includes("hello"));
  child.stdin.write("\u0003");
  const [code] = await ended;
  assert.deepEqual([code, seen.text.replace("^C", "")], [130, "hello\r\n"]);
  await davit.done("down", "-t", "0", file);
});
