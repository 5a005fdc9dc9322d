import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { LogFields } from "../../base/logger.ts";
import type { CadvisorConfig } from "../../config/config.ts";
import { ContainerStore } from "../../core/container/index.ts";
import { SandboxStore } from "../../core/sandbox/index.ts";
import { openCadvisor } from "./cadvisor.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-cadvisor-"));
after(() => rmSync(directory, { recursive: true }));

const records = { put: () => undefined, delete: () => undefined };

function parts(config: Partial<CadvisorConfig>, lines: string[] = []) {
  const note =
    (level: string) =>
    (message: string, fields?: LogFields): void => {
      lines.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`);
    };
  const log = {
    debug: note("debug"),
    info: note("info"),
    warn: note("warn"),
    error: note("error"),
    with: () => log,
  };
  return {
    config: {
      serve: "auto",
      listen: join(directory, "own", "containerd.sock"),
      ...config,
    } as const,
    version: "1.0.0",
    sandboxes: new SandboxStore(records),
    containers: new ContainerStore(records),
    layout: { version: "v2", root: directory, controllers: [] } as const,
    log,
    dockerSocket: join(directory, "docker.sock"),
  };
}

test("openCadvisor() serves the path, and removes its socket and directory at the end", async () => {
  const deps = parts({});
  const cadvisor = await openCadvisor(deps);
  const { listen } = deps.config;
  assert.deepEqual(cadvisor.view(), { socket: listen, served: true, reason: "" });
  assert.ok(existsSync(listen));
  await cadvisor[Symbol.asyncDispose]();
  assert.ok(!existsSync(join(directory, "own")));
});

test("openCadvisor() leaves the path to Docker, unless it is told to serve always", async () => {
  const lines: string[] = [];
  const deps = parts({}, lines);
  writeFileSync(deps.dockerSocket, "");
  const left = await openCadvisor(deps);
  assert.equal(left.view().served, false);
  assert.match(left.view().reason, /docker\.sock exists/);
  assert.match(lines.join("\n"), /^info not serving cAdvisor .*docker\.sock exists/);
  await left[Symbol.asyncDispose]();
  await using served = await openCadvisor(parts({ serve: "always" }));
  assert.equal(served.view().served, true);
});

test("openCadvisor() does not reject when it cannot serve the path", async () => {
  const file = join(directory, "file");
  writeFileSync(file, "");
  const lines: string[] = [];
  await using first = await openCadvisor(parts({ serve: "always", listen: file }, lines));
  assert.match(first.view().reason, /this is not a socket/);
  await using second = await openCadvisor(
    parts({ serve: "always", listen: join(file, "x.sock") }, lines),
  );
  assert.equal(second.view().served, false);
  assert.match(lines.join("\n"), /^info not serving cAdvisor .*not a socket/m);
});
