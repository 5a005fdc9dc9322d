import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { BootstrapResultSchema } from "../../../gen/containerd/runtime/bootstrap/v1/bootstrap_pb.ts";
import { KnownInputs, startShim } from "./shim-binary.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "davit-shim-"));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

/** What a shim of containerd 2.3 writes when it gets the options alone. */
const deprecated =
  "shim: shim was started through the deprecated API but was built against the new API";

/** The answer of a shim of containerd 2.3, in octal escapes of printf(1). */
function resultText(): string {
  const result = { version: 3, address: "unix:///run/new", protocol: "ttrpc" };
  const bytes = toBinary(BootstrapResultSchema, create(BootstrapResultSchema, result));
  return [...bytes].map((byte) => `\\0${byte.toString(8)}`).join("");
}

/**
 * A shim that notes each start. `reads`: the input that it demands, by the id of the pod at the begin of
 * BootstrapParams; "any" takes whatever it gets, as shims before 2.3.
 */
function makeShim(reads: "params" | "any", error = deprecated): string {
  const program = join(directory, "shim");
  const answer = reads === "params" ? `printf '%b' '${resultText()}'` : "echo unix:///run/old";
  writeFileSync(
    program,
    `#!/bin/sh
input=$(tr -d '\\000' | tr '\\n' ' ')
case "$input" in
  *containerd.runc*pod-1*|*pod-1*k8s.io*) kind=params ;;
  *) kind=options ;;
esac
echo $kind >>${join(directory, "starts")}
[ ${reads} = any ] || [ $kind = params ] || { echo '${error}' >&2; exit 1; }
${answer}
`,
    { mode: 0o755 },
  );
  return program;
}

const starts = (): readonly string[] =>
  readFileSync(join(directory, "starts"), "utf8").trim().split("\n");

function start(program: string, inputs: KnownInputs): ReturnType<typeof startShim> {
  return startShim({
    program,
    inputs,
    environment: {
      eventsPath: join(directory, "events.sock"),
      publishBinary: "/bin/true",
      socketDirectory: join(directory, "s"),
    },
    id: "pod-1",
    bundle: directory,
    options: create(AnySchema, { typeUrl: "runtimeoptions.v1.Options" }),
    debug: false,
  });
}

describe("startShim()", () => {
  it("starts a shim of containerd 2.3 again with the parameters, once for each program", async () => {
    const inputs = new KnownInputs();
    const program = makeShim("params");
    const expected = { version: 3, socketPath: "/run/new" };
    assert.deepEqual(await start(program, inputs), expected);
    assert.deepEqual(await start(program, inputs), expected);
    assert.deepEqual(starts(), ["options", "params", "params"]);
    // An older one was installed.
    rmSync(program);
    assert.deepEqual(await start(makeShim("any"), inputs), { version: 2, socketPath: "/run/old" });
    assert.equal(starts().at(-1), "options");
  });

  it("does not start a shim again that fails for another reason", async () => {
    const program = makeShim("params", "open config.json: no such file");
    await assert.rejects(start(program, new KnownInputs()), { message: /open config.json/ });
    assert.deepEqual(starts(), ["options"]);
  });
});
