import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { create, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { silentLogger } from "../../base/logger.ts";
import { TaskOOMSchema } from "../../gen/containerd/events/task_pb.ts";
import { Events } from "../../gen/containerd/services/events/ttrpc/v1/events_pb.ts";
import type { Envelope } from "../../gen/containerd/types/event_pb.ts";
import { TtrpcServer, unaryMethod } from "../../wire/ttrpc/index.ts";

const main = new URL("../../cli/main.ts", import.meta.url).pathname;

/** Runs `davit` from the sources with these words and this input. */
function davit(args: readonly string[], input: Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [main, ...args], (error, _stdout, stderr) => {
      resolve(`${error?.code ?? 0} ${stderr}`);
    });
    child.stdin?.end(input);
  });
}

test("davit publish sends a shim's event to the daemon at the address", async () => {
  const directory = await mkdtemp(join(tmpdir(), "davit-publish-"));
  const events: Envelope[] = [];
  const forward = unaryMethod(Events.method.forward, ({ envelope }) => {
    if (envelope !== undefined) events.push(envelope);
    return Promise.resolve({});
  });
  const server = new TtrpcServer({ methods: new Map([forward]), log: silentLogger });
  const address = join(directory, "events.sock");
  const value = toBinary(TaskOOMSchema, create(TaskOOMSchema, { containerId: "abc" }));
  const event = create(AnySchema, { typeUrl: TaskOOMSchema.typeName, value });
  const words = ["--address", address, "publish", "--topic", "/tasks/oom", "--namespace", "k8s.io"];
  try {
    assert.match(await davit(words, toBinary(AnySchema, event)), /^1 .*no such socket/s);
    await server.listen(address, { mode: 0o600 });
    assert.match(await davit(words, toBinary(AnySchema, event)), /^0 /);
    const [got] = events;
    assert.deepEqual(
      [got?.topic, got?.namespace, got?.event?.typeUrl, got?.event?.value],
      ["/tasks/oom", "k8s.io", "containerd.events.TaskOOM", Buffer.from(value)],
    );
  } finally {
    await server.stop();
    await rm(directory, { recursive: true });
  }
});
