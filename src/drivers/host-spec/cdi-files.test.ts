import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { makeFifo } from "../../linux/stream/index.ts";
import { CdiFiles } from "./cdi-files.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-cdi-"));
after(() => rmSync(directory, { recursive: true }));

let count = 0;
let etc = "";
let run = "";
let files: CdiFiles;

beforeEach(() => {
  etc = join(directory, String(count), "etc");
  run = join(directory, String(count++), "run");
  mkdirSync(etc, { recursive: true });
  files = new CdiFiles([etc, run]);
});

const json = (value: string, name = "a"): string =>
  JSON.stringify({
    cdiVersion: "0.5.0",
    kind: "v/c",
    devices: [{ name, containerEdits: { env: [`VALUE=${value}`] } }],
  });
const valueOf = async (name = "v/c=a"): Promise<readonly string[]> =>
  (await files.edits([name])).env;

describe("CdiFiles", () => {
  test("reads JSON and YAML, and skips other names and directories that are not there", async () => {
    writeFileSync(join(etc, "a.json"), json("json"));
    writeFileSync(join(etc, "b.yaml"), "cdiVersion: 0.6.0\nkind: v/y\ndevices:\n- name: a\n");
    writeFileSync(join(etc, "c.txt"), "no file of CDI");
    assert.deepEqual(await valueOf(), ["VALUE=json"]);
    assert.deepEqual(await valueOf("v/y=a"), []);
  });

  test("reads octal numbers of YAML, and the facts of a node on the host", async () => {
    const text = [
      "cdiVersion: 0.6.0",
      "kind: v/c",
      "devices:",
      "- name: a",
      "  containerEdits:",
      "    deviceNodes:",
      "    - {path: /dev/x, hostPath: /dev/zero, fileMode: 0640}",
      "    - {path: /dev/y, type: c, major: 7, minor: 8}",
    ].join("\n");
    writeFileSync(join(etc, "a.yaml"), text);
    const { deviceNodes } = await files.edits(["v/c=a"]);
    const [x, y] = deviceNodes;
    assert.deepEqual([x?.type, x?.major, x?.minor, x?.fileMode], ["c", 1, 5, 0o640]);
    assert.deepEqual([y?.type, y?.major, y?.minor], ["c", 7, 8]);
  });

  test("sees files that change, come and go", async () => {
    const file = join(etc, "a.json");
    writeFileSync(file, json("1"));
    utimesSync(file, 1, 1);
    assert.deepEqual(await valueOf(), ["VALUE=1"]);
    writeFileSync(file, json("2"));
    utimesSync(file, 1, 1); // its size and time are as before, its status has changed
    assert.deepEqual(await valueOf(), ["VALUE=2"]);
    mkdirSync(run);
    writeFileSync(join(run, "a.json"), json("run"));
    assert.deepEqual(await valueOf(), ["VALUE=run"]);
    rmSync(run, { recursive: true });
    assert.deepEqual(await valueOf(), ["VALUE=2"]);
    rmSync(file);
    await assert.rejects(valueOf(), (error) => isKind(error, "invalid-argument"));
  });

  test("names a file that cannot be used, and uses the others", async () => {
    writeFileSync(join(etc, "a.json"), json("good"));
    writeFileSync(join(etc, "torn.json"), "{");
    writeFileSync(join(etc, "wrong.yaml"), "kind: 7\n");
    assert.deepEqual(await valueOf(), ["VALUE=good"]);
    await assert.rejects(valueOf("v/c=z"), (error) =>
      /torn\.json.*wrong\.yaml": cdiVersion/.test(String(error)),
    );
  });

  test("names a FIFO, without waiting for who writes to it", async () => {
    writeFileSync(join(etc, "a.json"), json("a"));
    makeFifo(join(etc, "b.json"));
    assert.deepEqual(await valueOf(), ["VALUE=a"]);
    await assert.rejects(
      files.edits(["v/c=none"]),
      /b\.json": read it: open it: it is a named pipe/,
    );
  });

  test("refuses a node that the host does not have, or has as something else", async () => {
    for (const [node, why] of [
      [{ path: "/dev/none-of-this-name" }, /none-of-this-name/],
      [{ path: "/dev/x", hostPath: "/etc/passwd" }, /it is not a device/],
      [{ path: "/dev/null", type: "b" }, /type b, the device is c/],
    ] as const) {
      const devices = [{ name: "a", containerEdits: { deviceNodes: [node] } }];
      writeFileSync(
        join(etc, "a.json"),
        JSON.stringify({ cdiVersion: "1.0.0", kind: "v/c", devices }),
      );
      await assert.rejects(
        files.edits(["v/c=a"]),
        (error) => isKind(error, "failed-precondition") && why.test(String(error)),
      );
    }
  });
});
