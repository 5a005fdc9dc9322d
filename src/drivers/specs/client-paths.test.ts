import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { ClientPaths } from "./client-paths.ts";

const limits = { deadlineMs: 20, atOnce: 2 };
const silent = {
  kind: "unavailable",
  message: /mount "\/dead\/.": its file system has not answered/,
};

describe("ClientPaths.look()", () => {
  test("gives what the work gives, and names what was being done when that fails", async () => {
    const paths = new ClientPaths(limits);
    assert.equal(await paths.look("/a", "mount", () => Promise.resolve(1)), 1);
    const failure = new RuntimeError("not-found", "no such file");
    const failed = paths.look("/a", 'mount "/a"', () => Promise.reject(failure));
    await assert.rejects(failed, { kind: "not-found", message: 'mount "/a": no such file' });
  });

  test("asks a path that does not answer no second time before it does", async () => {
    const paths = new ClientPaths(limits);
    const answer = Promise.withResolvers<number>();
    let asked = 0;
    const look = (): Promise<number> =>
      paths.look("/dead/a", 'mount "/dead/a"', () => {
        asked += 1;
        return answer.promise;
      });
    await assert.rejects(look(), silent);
    await assert.rejects(look(), silent);
    assert.equal(asked, 1);
    answer.resolve(7);
    await new Promise(setImmediate);
    assert.equal(await look(), 7);
    assert.equal(asked, 2);
  });

  test("takes no more threads than it may, and says who has them", async () => {
    const paths = new ClientPaths(limits);
    const answer = Promise.withResolvers<number>();
    const dead = ["/dead/a", "/dead/b"].map((path) =>
      assert.rejects(
        paths.look(path, `mount "${path}"`, () => answer.promise),
        silent,
      ),
    );
    await Promise.all(dead);
    let asked = false;
    const look = (): Promise<boolean> =>
      paths.look("/fine", 'mount "/fine"', () => {
        asked = true;
        return Promise.resolve(true);
      });
    await assert.rejects(look(), {
      kind: "unavailable",
      message: /mount "\/fine": .* 2 other paths do not answer \("\/dead\/a", "\/dead\/b"\)/,
    });
    assert.equal(asked, false);
    answer.resolve(0);
    assert.equal(await look(), true);
  });
});
