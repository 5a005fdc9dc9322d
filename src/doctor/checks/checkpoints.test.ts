import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseConfig } from "../../config/load.ts";
import { FixtureHost, succeeded } from "../testing/fixture-host.ts";
import { checkpointsCheck } from "./checkpoints.ts";

const withoutCriu = succeeded('{"linux":{"seccomp":{"enabled":true}}}');
const kata = 'runtime_type = "io.containerd.kata.v2"';
const runcShim = 'runtime_type = "io.containerd.runc.v2"';

/** What is found with only these handlers: the id of each finding, and its text. */
async function examine(
  handlers: Readonly<Record<string, string>>,
  change: (host: FixtureHost) => unknown = () => undefined,
): Promise<readonly (readonly [id: string, text: string])[]> {
  const host = new FixtureHost();
  change(host);
  const disabled = ["crun", "runc"].map((name) => `[runtime.handlers.${name}]\nenabled = false\n`);
  const tables = Object.entries(handlers).map(
    ([name, lines]) => `[runtime.handlers.${name}]\n${lines}\n`,
  );
  const [first = ""] = Object.keys(handlers);
  const text = `[runtime]\ndefault_handler = "${first}"\n${[...disabled, ...tables].join("")}`;
  const findings = await checkpointsCheck.examine({
    host,
    config: parseConfig(text, "davit.toml"),
    configFile: undefined,
    configProblems: [],
    version: "0.1.0",
    probeRegistries: false,
    images: [],
    skip: () => undefined,
  });
  return findings.map(({ id, found }) => [id, found]);
}

describe("the check of checkpoints", () => {
  test("asks for CRIU for handlers of runc's shim, too, and names those that need it", async () => {
    const handlers = { shim: runcShim, plain: 'path = "crun"', vm: kata };
    const [[id, text] = [], ...others] = await examine(handlers, ({ programs }) =>
      programs.delete("criu"),
    );
    assert.equal(id, "checkpoints.criu-missing");
    assert.match(text ?? "", /the handlers "shim", "plain" need$/);
    assert.deepEqual(others, []);
  });

  test("asks for nothing where no handler captures containers", async () => {
    const handlers = {
      vm: kata,
      pods: `${runcShim}\ncontroller = "shim"`,
    };
    const found = await examine(handlers, ({ programs }) => programs.delete("criu"));
    assert.deepEqual(found, [["checkpoints.ready", "no handler whose containers are captured"]]);
  });

  test("examines the runtime of a shim", async () => {
    const found = await examine({ shim: runcShim }, ({ commands }) =>
      commands.set("runc features", withoutCriu),
    );
    const text = 'handler "shim": /usr/bin/runc was built without CRIU';
    assert.deepEqual(found, [["checkpoints.runtime-without-criu", text]]);
  });

  test("says which shims do not restore, and misses the library of crun under a shim", async () => {
    const handlers = {
      byCrun: `${runcShim}\noptions = { BinaryName = "crun" }`,
      elsewhere: `${runcShim}\noptions = { Root = "/run/other" }`,
    };
    const found = await examine(handlers, ({ fileInfos }) =>
      fileInfos.delete("/usr/lib64/libcriu.so.2"),
    );
    assert.deepEqual(
      found.map(([id]) => id),
      [
        "checkpoints.library-missing",
        "checkpoints.shim-without-restores",
        "checkpoints.shim-without-restores",
      ],
    );
    assert.match(found[1]?.[1] ?? "", /"byCrun" .* by runc only, not by "crun"/);
    assert.match(found[2]?.[1] ?? "", /"elsewhere" .* with the option Root/);
  });

  test("is content with CRIU and runc under a shim", async () => {
    const found = await examine({ shim: runcShim });
    const text = 'criu 4.2 (/usr/bin/criu) of the handlers "shim"';
    assert.deepEqual(found, [["checkpoints.ready", text]]);
  });

  test("names the handlers of a CRIU that is too old", async () => {
    const found = await examine({ shim: runcShim }, ({ commands }) =>
      commands.set("criu --version", succeeded("Version: 3.17.1\n")),
    );
    assert.deepEqual(found, [
      ["checkpoints.criu-old", 'criu 3.17.1 (/usr/bin/criu) of the handlers "shim"'],
    ]);
  });
});
