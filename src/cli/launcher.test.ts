import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const LAUNCHER = fileURLToPath(new URL("../../bin/davit", import.meta.url));
const PATH = "/usr/bin:/bin";
let directory = "";

/** A program that reports this version of Node.js, and otherwise prints its arguments. */
function fakeNode(path: string, version: string): void {
  mkdirSync(dirname(path), { recursive: true });
  const answer = `[ "$1" = --version ] && { echo ${version}; exit; }`;
  writeFileSync(path, `#!/bin/sh\n${answer}\necho "${version} pool=$UV_THREADPOOL_SIZE" "$@"\n`);
  chmodSync(path, 0o755);
}

function run(file: string, env: Readonly<Record<string, string>>, word = "a b"): string {
  const { stdout, stderr, status } = spawnSync(file, [word], { env, encoding: "utf8" });
  return `${status} ${stdout}${stderr}`.trim();
}

before(() => {
  directory = mkdtempSync(join(tmpdir(), "davit-launcher-"));
  mkdirSync(join(directory, "home/bin"), { recursive: true });
  cpSync(LAUNCHER, join(directory, "home/bin/davit"));
});
after(() => rmSync(directory, { recursive: true }));

test("bin/davit explains what to do if the build or Node.js is missing", () => {
  const home = join(directory, "home");
  const davit = join(home, "bin/davit");
  fakeNode(join(directory, "old/node"), "v20.19.2");
  fakeNode(join(directory, "new/node"), "v24.0.0");
  assert.equal(
    run(davit, { PATH: `${directory}/old:${PATH}` }),
    "1 davit: no Node.js 24 or newer: install one, or set DAVIT_NODE",
  );
  mkdirSync(join(home, "scripts"));
  writeFileSync(join(home, "scripts/setup.sh"), "");
  assert.equal(
    run(davit, { PATH: `${directory}/old:${PATH}` }),
    `1 davit: no Node.js 24 or newer: run "npm install --ignore-scripts" in ${home}, or set DAVIT_NODE`,
  );
  assert.equal(
    run(davit, { PATH: `${directory}/new:${PATH}` }),
    `1 davit: ${home}/dist/davit.cjs is missing: run "npm run build" in ${home}`,
  );
  const old = join(directory, "old/node");
  assert.equal(
    run(davit, { PATH, DAVIT_NODE: old }),
    `1 davit: DAVIT_NODE=${old} is not a Node.js 24 or newer`,
  );
});

test("bin/davit uses DAVIT_NODE, then the Node.js beside it, then PATH, also through symlinks", () => {
  const home = join(directory, "home");
  mkdirSync(join(home, "dist"), { recursive: true });
  writeFileSync(join(home, "dist/davit.cjs"), "");
  fakeNode(join(directory, "path/node"), "v26.1.0");
  fakeNode(join(directory, "named/node"), "v25.0.0");
  symlinkSync("../home/bin/davit", join(directory, "path/relative"));
  symlinkSync(join(directory, "path/relative"), join(directory, "link"));
  const link = join(directory, "link");
  const env = { PATH: `${directory}/path:${PATH}` };
  // The flags of Node.js in between are not checked.
  const called = (variables: Readonly<Record<string, string>>): string =>
    run(link, variables).replace(/( --\S+)+/, "");
  const args = `pool=16 ${home}/dist/davit.cjs a b`;
  assert.equal(called(env), `0 v26.1.0 ${args}`);
  fakeNode(join(home, "node_modules/.bin/node"), "v24.21.0");
  assert.equal(called(env), `0 v24.21.0 ${args}`);
  fakeNode(join(home, "bin/node"), "v24.22.0");
  assert.equal(called(env), `0 v24.22.0 ${args}`);
  const named = { ...env, DAVIT_NODE: join(directory, "named/node") };
  assert.equal(called(named), `0 v25.0.0 ${args}`);
  const serve = (): string => run(link, env, "serve").split(" ").slice(-2).join(" ");
  assert.equal(serve(), `${home}/dist/davit.cjs serve`);
  writeFileSync(join(home, "dist/serve.cjs"), "");
  assert.equal(serve(), `${home}/dist/serve.cjs serve`);
});

test("bin/davit and the scripts of npm start are valid shell", () => {
  const root = dirname(dirname(LAUNCHER));
  for (const script of ["bin/davit", "scripts/start.sh", "scripts/setup.sh", "scripts/build.sh"]) {
    execFileSync("sh", ["-n", join(root, script)]);
  }
});
