import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { ClientPaths } from "./client-paths.ts";

const limits = { deadlineMs: 100, slowMs: 5, atOnce: 2, slowAtOnce: 3 };
const mountPointOf = (path: string): Promise<string> =>
  Promise.resolve(path.slice(0, path.lastIndexOf("/")));

/** Paths that never answer before `answer` is called. */
function dead() {
  const { promise, resolve } = Promise.withResolvers<number>();
  const asked: string[] = [];
  const paths = new ClientPaths(mountPointOf, limits);
  const access = (path: string): Promise<number> =>
    paths.withStallGuard(path, `mount "${path}"`, () => {
      asked.push(path);
      return promise;
    });
  const answer = (): void => {
    resolve(7);
  };
  return { paths, asked, access, answer };
}

const rejection = (message: RegExp) => ({ kind: "unavailable", message });

describe("ClientPaths.withStallGuard()", () => {
  test("gives what the work gives, and names what was being done when that fails", async () => {
    const paths = new ClientPaths(mountPointOf, limits);
    assert.equal(await paths.withStallGuard("/a", "mount", () => Promise.resolve(1)), 1);
    const failure = new RuntimeError("not-found", "no such file");
    const failed = paths.withStallGuard("/a", 'mount "/a"', () => Promise.reject(failure));
    await assert.rejects(failed, { kind: "not-found", message: 'mount "/a": no such file' });
  });

  test("asks a file system that does not answer no more than it may, and others all the same", async () => {
    const { paths, asked, access, answer } = dead();
    const accesses = Array.from({ length: 6 }, (_, at) => `/dead/${at}`).map((path) =>
      assert.rejects(access(path), rejection(/mount "\/dead\/\d": .*has not answered for 0.1 s/)),
    );
    const fine = paths.withStallGuard("/fine/a", "mount", () => Promise.resolve("fine"));
    assert.equal(await fine, "fine");
    await Promise.all(accesses);
    await assert.rejects(access("/dead/again"), rejection(/the file system mounted at "\/dead"/));
    assert.deepEqual(asked, ["/dead/0", "/dead/1"]);
    answer();
    assert.equal(await access("/dead/again"), 7);
  });

  test("takes no more threads than it may for all of them", async () => {
    const { paths, asked, access, answer } = dead();
    for (const path of ["/a/x", "/b/x", "/c/x"]) await assert.rejects(access(path), rejection(/./));
    let isAsked = false;
    const fine = (): Promise<boolean> =>
      paths.withStallGuard("/fine/a", "mount", () => {
        isAsked = true;
        return Promise.resolve(true);
      });
    await assert.rejects(fine(), rejection(/the file system mounted at "\/a" has not answered/));
    assert.equal(isAsked, false);
    assert.equal(asked.length, 3);
    answer();
    assert.equal(await fine(), true);
  });
});
