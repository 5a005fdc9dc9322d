import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, test } from "node:test";
import { status as grpcStatus, type ServiceError } from "@grpc/grpc-js";
import { parse } from "smol-toml";
import { RuntimeService } from "../../src/gen/runtime/v1/api_pb.ts";
import { TestDaemon } from "./daemon.ts";
import { GrpcJsClient } from "./grpc-js-client.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-stand-in-"));
after(() => rmSync(directory, { recursive: true }));

const repo = path.resolve(import.meta.dirname, "../..");
const standIn = path.join(directory, "stand-in.ts");

// A daemon of thirty lines, on grpc-js: this is a test of the harness, not of davit.
writeFileSync(
  standIn,
  `
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { create, fromBinary, toBinary } from "${repo}/node_modules/@bufbuild/protobuf/dist/esm/index.js";
import grpc from "${repo}/node_modules/@grpc/grpc-js/build/src/index.js";
import { parse } from "${repo}/node_modules/smol-toml/dist/index.js";
import { RuntimeService } from "${repo}/src/gen/runtime/v1/api_pb.ts";

if (process.env["STAND_IN_FAILS"]) {
  process.stderr.write("no luck today\\n");
  process.exit(4);
}
const [, , verb, flag, file] = process.argv;
const { listen } = parse(readFileSync(file, "utf8")).server;
const server = new grpc.Server();
const { version } = RuntimeService.method;
const path_ = "/" + RuntimeService.typeName + "/";
const answer = (call, callback) =>
  callback(null, create(version.output, { version: call.request.version, runtimeName: verb + flag, runtimeVersion: process.env["STAND_IN_NAME"] ?? "1" }));
const codec = (desc) => ({ de: (b) => fromBinary(desc, b), ser: (m) => Buffer.from(toBinary(desc, m)) });
server.addService(
  { version: { path: path_ + "Version", requestStream: false, responseStream: false, requestSerialize: codec(version.input).ser, requestDeserialize: codec(version.input).de, responseSerialize: codec(version.output).ser, responseDeserialize: codec(version.output).de },
    status: { path: path_ + "Status", requestStream: false, responseStream: false, requestSerialize: (b) => b, requestDeserialize: (b) => b, responseSerialize: (b) => b, responseDeserialize: (b) => b } },
  { version: answer, status: (call) => call.on("cancelled", () => process.stderr.write('{"msg":"cancelled"}\\n')) },
);
mkdirSync(path.dirname(listen), { recursive: true });
rmSync(listen, { force: true });
server.bindAsync("unix://" + listen, grpc.ServerCredentials.createInsecure(), () => process.stderr.write('{"msg":"serving"}\\n'));
process.on("SIGTERM", () => process.exit(0));
`,
);
const options = { entry: [standIn] };

describe("TestDaemon", () => {
  test("starts, answers, is killed and starts again on the same files", async () => {
    await using daemon = await TestDaemon.start(options);
    const first = daemon.pid;
    const { runtimeName } = await daemon.client.runtime.version({ version: "v1" });
    assert.equal(runtimeName, "serve--config");

    await daemon.kill9();
    assert.throws(() => daemon.pid, /does not run/);
    await assert.rejects(daemon.client.runtime.version({}));

    await daemon.restart({ STAND_IN_NAME: "second" });
    assert.notEqual(daemon.pid, first);
    assert.equal((await daemon.client.runtime.version({})).runtimeVersion, "second");
    assert.deepEqual(await daemon.stop(), { code: 0, signal: null });
  });

  test("removes its directory, and collects the log lines", async () => {
    let kept: TestDaemon;
    {
      await using daemon = await TestDaemon.start(options);
      await daemon.waitForLine(/serving/);
      kept = daemon;
    }
    assert.equal(existsSync(kept.paths.directory), false);
    assert.equal(kept.lines[0]?.fields["msg"], "serving");
  });

  test("fails with the log when the daemon ends before it answers", async () => {
    const start = TestDaemon.start({ ...options, env: { STAND_IN_FAILS: "1" } });
    await assert.rejects(start, /it ended \(4\)\n {2}no luck today/);
  });

  test("writes the test's configuration with the changes laid over it", async () => {
    await using daemon = TestDaemon.prepare({
      ...options,
      pluginDirs: ["/plugins"],
      config: { log: { level: "warn" }, runtime: { handlers: { odd: { path: "odd" } } } },
    });
    const written = parse(readFileSync(daemon.paths.config, "utf8"));
    const config = JSON.parse(JSON.stringify(written)) as Record<string, object>;
    assert.deepEqual(config["log"], { level: "warn" });
    assert.deepEqual(config["runtime"], { handlers: { odd: { path: "odd" } } });
    assert.deepEqual(config["cni"], {
      conf_dir: daemon.paths.confDir,
      bin_dirs: ["/plugins", "/usr/lib/cni"],
    });
  });
});

describe("GrpcJsClient", () => {
  test("calls, has a deadline, cancels, and gives the status code", async () => {
    await using daemon = await TestDaemon.start(options);
    using client = new GrpcJsClient(daemon.paths.socket);
    const { method } = RuntimeService;
    assert.equal((await client.unary(method.version, { version: "x" })).version, "x");

    const code = (wanted: grpcStatus) => (error: ServiceError) => error.code === wanted;
    const late = client.unary(method.status, {}, { timeoutMs: 100 });
    await assert.rejects(late, code(grpcStatus.DEADLINE_EXCEEDED));

    const abort = new AbortController();
    const from = daemon.lines.length;
    const cancelled = client.unary(method.status, {}, { signal: abort.signal });
    // It is cancelled after it was sent, which the answer to a later call shows.
    await client.unary(method.version, {});
    abort.abort();
    await assert.rejects(cancelled, code(grpcStatus.CANCELLED));
    await daemon.waitForLine(/cancelled/, from);

    await assert.rejects(client.unary(method.stopPodSandbox, {}), code(grpcStatus.UNIMPLEMENTED));
  });
});
