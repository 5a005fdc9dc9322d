/** The package davit, as npm packs and installs it: its size, its types, and Node.js 20. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { busyboxRoot } from "../support/sdk.ts";

const repo = path.resolve(import.meta.dirname, "../..");
const directory = mkdtempSync(path.join(tmpdir(), "davit-sdk-package-"));
const project = path.join(directory, "project");

/** Uses most of the types. */
const consumer = `
import { type Container, cri, Davit, DavitError, type DavitEvent, ExecError, type Pod, type RunOptions } from "davit";
import { plugin } from "davit/nri";

export async function use(davit: Davit, signal: AbortSignal): Promise<string> {
  const options: RunOptions = { memory: "64Mi", network: { allow: ["dns"] }, ready: { port: 80 }, signal };
  await using pod: Pod = await davit.run("x", options);
  const container: Container = await pod.container();
  const { stdout, exitCode } = await container.exec\`echo \${1} \${["a", "b"]}\`;
  for await (const { time, text } of pod.logs({ follow: true })) console.log(time.getTime(), text);
  for await (const { layers } of davit.pull("x")) console.log(layers[0]?.state === "done");
  const image = await davit.pull("x");
  const process = await pod.spawn(["cat"], { terminal: { width: 80, height: 25 } });
  process.stdin.end("x");
  for await (const chunk of process.stdout) console.log(String(chunk));
  const { status } = await davit.cri.runtime.podSandboxStatus({ podSandboxId: pod.id, verbose: true });
  const ready: boolean = status?.state === cri.PodSandboxState.SANDBOX_READY;
  const created: bigint | undefined = status?.createdAt;
  const sent: cri.Init<cri.PodSandboxConfig> = { metadata: { name: "x", attempt: 1 }, portMappings: [{ hostPort: 1 }] };
  for await (const event of davit.events({ signal })) {
    const each: DavitEvent = event;
    if (each.type === "container-ended") console.log(each.exitCode?.toFixed());
  }
  return [stdout, exitCode, image.id, ready, created, sent.metadata?.name].join();
}

export const kindOf = (error: unknown): string =>
  error instanceof ExecError ? String(error.exitCode) : error instanceof DavitError ? error.kind : "";
export const made = plugin({ name: "x", index: 1 });
`;

/** What must not compile. */
const mistakes = `
import { Davit, type Davit as Connection } from "davit";
declare const davit: Connection;
// @ts-expect-error: no such option
await davit.run("x", { memorie: 1 });
// @ts-expect-error: not a quantity
await davit.run("x", { memory: "64MB" });
// @ts-expect-error: an option that is undefined
await davit.run("x", { name: undefined });
// @ts-expect-error: no such method
await davit.cri.runtime.noSuchMethod({});
// @ts-expect-error: a number, not a bigint
await davit.cri.runtime.stopContainer({ containerId: "x", timeout: 10 });
// @ts-expect-error: not a class
new Davit();
`;

before(() => {
  const staged = path.join(directory, "staged");
  execFileSync("sh", [path.join(repo, "scripts/package/stage-sdk.sh"), staged]);
  npm(staged, "pack", "--pack-destination", directory);
  mkdirSync(project);
  writeFileSync(
    path.join(project, "package.json"),
    '{ "name": "project", "private": true, "type": "module" }\n',
  );
  npm(project, "install", path.join(directory, archive()));
});
after(() => rmSync(directory, { recursive: true }));

function npm(cwd: string, ...args: readonly string[]): void {
  const cache = path.join(directory, "cache");
  const all = [...args, "--offline", "--no-audit", "--no-fund", "--cache", cache];
  // npm and the compiler would keep their own code below TMPDIR.
  const env = { ...process.env, NODE_DISABLE_COMPILE_CACHE: "1" };
  execFileSync("npm", all, { cwd, env, stdio: ["ignore", "ignore", "pipe"] });
}

function archive(): string {
  const found = readdirSync(directory).find((name) => name.endsWith(".tgz"));
  assert.ok(found !== undefined);
  return found;
}

test("the package is small, and brings nothing else", (t) => {
  const packed = statSync(path.join(directory, archive())).size;
  const unpacked = execFileSync("du", ["-sb", path.join(project, "node_modules/davit")], {
    encoding: "utf8",
  });
  t.diagnostic(`${packed} bytes packed, ${Number.parseInt(unpacked, 10)} bytes installed`);
  assert.ok(packed < 1e6);
  assert.deepEqual(
    readdirSync(path.join(project, "node_modules")).filter((name) => !name.startsWith(".")),
    ["davit"],
  );
  const names = execFileSync(
    "find",
    [path.join(project, "node_modules/davit"), "-name", "*.d.ts"],
    { encoding: "utf8" },
  );
  for (const file of names.trim().split("\n")) {
    for (const [, from = ""] of readFileSync(file, "utf8").matchAll(/from "([^"]+)"/g)) {
      assert.match(from, /^(\.\.?\/|node:)/, file);
    }
  }
});

describe("its types", () => {
  const options = {
    target: "es2022",
    module: "nodenext",
    lib: ["es2022", "esnext.disposable"],
    types: ["node"],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    noPropertyAccessFromIndexSignature: true,
    verbatimModuleSyntax: true,
    skipLibCheck: false,
    noEmit: true,
  };

  test("are right for strict programs, and refuse mistakes", () => {
    writeFileSync(path.join(project, "consumer.ts"), consumer);
    writeFileSync(path.join(project, "mistakes.ts"), mistakes);
    const document = readFileSync(path.join(repo, "docs/sdk.md"), "utf8");
    // The blocks of the guide, each with the names that earlier ones have made.
    const given =
      'import type { Davit as Connection, Pod } from "davit";\ndeclare const davit: Connection;\n';
    for (const [index, [, text = ""]] of [...document.matchAll(/^```ts\n(.*?)^```/gms)].entries()) {
      const whole = /Davit\.connect/.test(text) ? text : given + text;
      writeFileSync(path.join(project, `document-${index}.ts`), `${whole}\nexport {};\n`);
    }
    mkdirSync(path.join(project, "node_modules/@types"), { recursive: true });
    cpSync(
      path.join(repo, "node_modules/@types/node"),
      path.join(project, "node_modules/@types/node"),
      { recursive: true },
    );
    cpSync(
      path.join(repo, "node_modules/undici-types"),
      path.join(project, "node_modules/undici-types"),
      { recursive: true },
    );
    writeFileSync(
      path.join(project, "tsconfig.json"),
      JSON.stringify({ compilerOptions: options, include: ["*.ts"] }),
    );
    const { status, stdout } = spawnSync(
      process.execPath,
      [path.join(repo, "node_modules/typescript/bin/tsc"), "-p", project],
      { encoding: "utf8", env: { ...process.env, NODE_DISABLE_COMPILE_CACHE: "1" } },
    );
    assert.equal(status, 0, stdout);
  });
});

const node20 = ["/usr/local/bin/node", "/usr/bin/node"]
  .filter((file) => existsSync(file))
  .find((file) => {
    const { stdout } = spawnSync(file, ["--version"], { encoding: "utf8" });
    return stdout.startsWith("v20.");
  });

test("it runs on Node.js 20", {
  skip: node20 === undefined && "no Node.js 20 on this machine",
}, () => {
  const rootfs = busyboxRoot(path.join(directory, "busybox"));
  const program = `
    import { Davit, ExecError } from "davit";
    const davit = await Davit.start({ program: ${JSON.stringify(path.join(repo, "bin/davit"))} });
    try {
      await davit.load({ rootfs: ${JSON.stringify(rootfs)}, tag: "x:1", config: { env: { PATH: "/bin" } } });
      const pod = await davit.run("x:1", { command: ["sleep", "1000"], graceSeconds: 0 });
      await pod.write("/file", "text");
      console.log(await pod.readText("/file"));
      const error = await pod.exec\`false\`.catch((error) => error);
      console.log(error instanceof ExecError, error.exitCode);
      await pod.remove();
    } finally {
      await davit.close();
    }
  `;
  writeFileSync(path.join(project, "program.mjs"), program);
  const { status, stdout, stderr } = spawnSync(node20 ?? "", ["program.mjs"], {
    cwd: project,
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  assert.equal(stdout, "text\ntrue 1\n");
});
