import assert from "node:assert/strict";
import { test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { connectError } from "../../wire/unix-socket.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { chooseEndpoint, type Endpoint } from "./endpoint.ts";
import { doing, explainFailure } from "./explain.ts";

const endpoint: Endpoint = { address: "unix:///run/x.sock", chosenBy: "DAVIT_ENDPOINT" };

function refused(code: string): RuntimeError {
  const cause = Object.assign(new Error(code), { code, syscall: "connect" });
  return connectError("/run/x.sock", cause);
}

function explained(error: unknown, there: readonly string[] = []): CommandFailure {
  const failure = explainFailure(error, endpoint, (path) => there.includes(path));
  assert.ok(failure instanceof CommandFailure);
  return failure;
}

test("explainFailure() suggests what to start, and another existing socket", () => {
  const nothing = explained(refused("ENOENT"));
  assert.equal(nothing.exitCode, exitCode.unreachable);
  assert.equal(
    nothing.message,
    "connect to unix:///run/x.sock (from DAVIT_ENDPOINT): no such socket; " +
      'start davit with "davit serve" as root, or its service with "systemctl start davit", ' +
      "or use another socket with --endpoint or DAVIT_ENDPOINT",
  );
  const demo = explained(refused("ECONNREFUSED"), ["/run/davit-demo/davit.sock"]);
  assert.match(demo.message, /connection refused, no server listens on this socket/);
  assert.match(demo.message, /--endpoint unix:\/\/\/run\/davit-demo\/davit\.sock$/);
  assert.match(explained(refused("EACCES")).message, /permission denied; run davit as root/);
  assert.match(explained(refused("ENOTSOCK")).message, /not a stream socket/);
});

test("explainFailure() sets the exit code of each kind of failure", () => {
  const cases = [
    ["not-found", exitCode.notFound],
    ["unavailable", exitCode.unreachable],
    ["unimplemented", exitCode.unsupported],
    ["deadline-exceeded", exitCode.timeout],
    ["internal", exitCode.failed],
  ] as const;
  for (const [kind, code] of cases) {
    assert.equal(explained(new RuntimeError(kind, "no")).exitCode, code, kind);
  }
  // The server of both is reachable.
  const unreached =
    'pull image "x" (stage resolve, 3 ms): RegistryUnavailable: fetch manifest 1 of "x"';
  for (const kind of ["unavailable", "unknown"] as const) {
    assert.equal(explained(new RuntimeError(kind, unreached)).exitCode, exitCode.registry, kind);
  }
  const missing = new RuntimeError("not-found", '"r.test" answered 404; "RegistryUnavailable"');
  assert.equal(explained(missing).exitCode, exitCode.notFound);
  const own = new CommandFailure(exitCode.notFound, "there is none");
  assert.equal(explained(own), own);
});

test("explainFailure() explains an unsupported call", () => {
  const advice = /; the server does not support this call$/;
  for (const message of [
    'call "/runtime.v1.RuntimeService/X": the service has no such method',
    'call "/x.Y/X": no such service: there are runtime.v1.RuntimeService',
    "unknown method X for service runtime.v1.RuntimeService",
  ]) {
    assert.match(explained(new RuntimeError("unimplemented", message)).message, advice);
  }
  const artifact = new RuntimeError("unimplemented", '"r.test" has a config of type "x"');
  assert.doesNotMatch(explained(artifact).message, advice);
});

test("doing() adds what was being done once", async () => {
  const failing = (message: string) =>
    doing('pull image "x"', Promise.reject(new RuntimeError("not-found", message)));
  await assert.rejects(failing("no such tag"), { message: 'pull image "x": no such tag' });
  await assert.rejects(failing('pull image "docker.io/x" (stage resolve): no such tag'), {
    message: 'pull image "x" (stage resolve): no such tag',
  });
  await assert.rejects(failing('find image "y": there is none'), {
    message: 'pull image "x": find image "y": there is none',
  });
});

test("doing() removes the id and the stage of an operation that the user has not named", async () => {
  const what = 'run "nosuch" in container "default/hello/web"';
  const id = "6d".repeat(32);
  for (const message of [
    `exec sync "${id}" (stage drain-output, 101 ms): OCI runtime exec: not found`,
    `exec in container "${id}": not found`,
    `exec "${id}" (stage start-process, 2 ms): not found`,
  ]) {
    const failing = doing(what, Promise.reject(new RuntimeError("not-found", message)));
    await assert.rejects(failing, { message: `${what}: not found` });
  }
});

test("chooseEndpoint() prefers the option, then the variable, the configuration, the default", () => {
  const env = { DAVIT_ENDPOINT: "/b" };
  assert.equal(chooseEndpoint("/a", env, undefined).address, "/a");
  assert.deepEqual(chooseEndpoint(undefined, env, undefined), {
    address: "/b",
    chosenBy: "DAVIT_ENDPOINT",
  });
  const { address, chosenBy } = chooseEndpoint(undefined, {}, "/nowhere/davit.toml");
  assert.deepEqual([address, chosenBy], ["unix:///run/davit/davit.sock", "default"]);
});
