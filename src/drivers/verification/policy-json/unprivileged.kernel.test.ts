import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { findProgram } from "../../../linux/process/index.ts";
import { runUnprivileged, someUser } from "./unprivileged.ts";

const { signal } = new AbortController();
const missing = ["openssl", "setpriv", "unshare"].filter(
  (name) => findProgram(name, "/usr/bin:/bin") === undefined,
);
const skip = missing.length > 0 ? `${missing.join(" and ")} not installed` : false;

describe("runUnprivileged()", { skip }, () => {
  const input = Buffer.alloc(0);

  /** What openssl reads in a file. */
  async function read(path: string, user: number): Promise<string> {
    const args = ["base64", "-in", path];
    const run = {
      name: "openssl",
      package: "openssl",
      args,
      user,
      cwd: "/",
      input,
      signal,
    } as const;
    const { code, stdout, stderr } = await runUnprivileged(run);
    assert.equal(code, 0, stderr.toString());
    return Buffer.from(stdout.toString(), "base64").toString();
  }

  test("runs a program as a user of its own, without capabilities, as the first of its PID namespace", async () => {
    const user = someUser();
    const status = await read("/proc/self/status", user);
    const fields = new Map(status.split("\n").map((line) => line.split(":\t") as [string, string]));
    assert.equal(fields.get("Uid"), Array(4).fill(user).join("\t"));
    assert.equal(fields.get("Gid"), Array(4).fill(user).join("\t"));
    assert.equal(fields.get("Groups")?.trim(), "");
    assert.equal(fields.get("NoNewPrivs"), "1");
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
      assert.match(fields.get(set) ?? "", /^0+$/, set);
    }
    assert.match(fields.get("NSpid") ?? "", /\t1$/);
  });

  test("runs a program in an empty network", async () => {
    const interfaces = await read("/proc/self/net/dev", someUser());
    assert.deepEqual(
      interfaces.match(/^ *[^ :]+(?=:)/gm)?.map((each) => each.trim()),
      ["lo"],
    );
  });

  test("says what it cannot run", async () => {
    const run = { name: "openssl", package: "openssl", args: [], cwd: "/", input, signal } as const;
    await assert.rejects(runUnprivileged({ ...run, user: Number.NaN }), /with openssl: setpriv: /);
    const gone = { ...run, name: "no-such-program" as "openssl", user: someUser() };
    await assert.rejects(runUnprivileged(gone), /no-such-program is not installed.*openssl/);
  });

  test("gives each verification another user, that no pod can ask for", () => {
    const users = new Set(Array.from({ length: 100 }, someUser));
    assert.ok(users.size > 90);
    for (const user of users) assert.ok(user > 2 ** 31 && user < 2 ** 32 - 2, String(user));
  });
});
