import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import { PodSandboxConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { RecordTable } from "../store/index.ts";
import { type Sandbox, type SandboxState, SandboxStore } from "./index.ts";

/** Records in memory that can be told to fail. */
class FakeRecords implements RecordTable<Sandbox> {
  readonly rows = new Map<string, Sandbox>();
  failure: Error | undefined;

  load(): readonly Sandbox[] {
    return [...this.rows.values()];
  }

  put(sandbox: Sandbox): void {
    if (this.failure !== undefined) throw this.failure;
    this.rows.set(sandbox.id, sandbox);
  }

  delete(id: string): void {
    if (this.failure !== undefined) throw this.failure;
    this.rows.delete(id);
  }
}

function sandbox(id: string, name = `name-${id}`): Sandbox {
  return {
    id,
    name,
    requestBytes: new Uint8Array(),
    config: create(PodSandboxConfigSchema),
    handler: { requested: "", name: "crun", controller: "podsandbox" },
    createdAtNs: 1n,
    bootId: "boot",
    state: { name: "creating" },
  };
}

const become =
  (state: SandboxState) =>
  (before: Sandbox): Sandbox => ({ ...before, state });

function filled(...ids: readonly string[]): {
  readonly records: FakeRecords;
  readonly store: SandboxStore;
  readonly heard: string[];
} {
  const records = new FakeRecords();
  const store = new SandboxStore(records);
  const heard: string[] = [];
  for (const id of ids) store.add(sandbox(id));
  store.listen(({ id, state }, change) => {
    // A change is on disk and visible before listeners are called.
    assert.equal(records.rows.has(id), change !== "removed");
    assert.equal(store.peek(id)?.state.name, change === "removed" ? undefined : state.name);
    assert.equal(store.isListed(id), change !== "removed");
    heard.push(`${id} ${change} ${state.name}`);
  });
  return { records, store, heard };
}

describe("SandboxStore", () => {
  test("has an added sandbox, and hides it until list()", () => {
    const { records, store, heard } = filled("abc");
    assert.equal(store.get("abc").id, "abc");
    assert.ok(records.rows.has("abc"));
    assert.equal(store.find("abc"), undefined);
    assert.equal(store.find("a"), undefined);
    assert.deepEqual([...store.listed()], []);
    assert.equal(store.isListed("abc"), false);
    assert.throws(
      () => store.resolve("abc"),
      (error) => isKind(error, "not-found"),
    );
    assert.deepEqual(
      [...store.all()].map(({ id }) => id),
      ["abc"],
    );

    store.list("abc");
    store.list("abc");
    assert.equal(store.find("a")?.id, "abc");
    assert.equal(store.resolve("ab").id, "abc");
    assert.deepEqual(
      [...store.listed()].map(({ id }) => id),
      ["abc"],
    );
    assert.deepEqual(heard, ["abc listed creating"]);
  });

  test("an update is on disk, in memory and reported to listeners, except an unlisted one", () => {
    const { records, store, heard } = filled("a", "b");
    store.list("a");
    const after = store.update("a", become({ name: "ready" }));
    store.update("b", become({ name: "ready" }));
    assert.equal(after.state.name, "ready");
    for (const seen of [
      store.get("a"),
      store.find("a"),
      records.rows.get("a"),
      [...store.listed()][0],
    ]) {
      assert.equal(seen, after);
    }
    assert.equal(store.get("b").state.name, "ready");
    assert.deepEqual(heard, ["a listed creating", "a updated ready"]);
  });

  test("an update that changes nothing writes nothing", () => {
    const { records, store, heard } = filled("a");
    store.list("a");
    records.failure = new Error("nobody may write");
    assert.equal(
      store.update("a", (before) => before),
      store.get("a"),
    );
    assert.equal(heard.length, 1);
  });

  test("an error of the records changes nothing: add, update, remove", () => {
    const { records, store, heard } = filled("a");
    store.list("a");
    const before = store.get("a");
    records.failure = new Error("disk full");
    assert.throws(() => store.add(sandbox("b")), /disk full/);
    assert.throws(() => store.update("a", become({ name: "ready" })), /disk full/);
    assert.throws(() => store.remove("a"), /disk full/);
    assert.equal(store.peek("b"), undefined);
    assert.equal(store.idOfName("name-b"), undefined);
    assert.equal(store.get("a"), before);
    assert.equal(store.find("a"), before);
    assert.equal(store.idOfName("name-a"), "a");
    assert.deepEqual(heard, ["a listed creating"]);

    records.failure = undefined;
    store.add(sandbox("b"));
    store.remove("a");
    assert.deepEqual(heard, ["a listed creating", "a removed creating"]);
  });

  test("an error of the change, or an invalid transition, changes nothing", () => {
    const { records, store, heard } = filled("a");
    store.list("a");
    const before = store.get("a");
    assert.throws(
      () =>
        store.update("a", () => {
          throw new Error("no");
        }),
      /no/,
    );
    assert.throws(
      () => store.update("a", become({ name: "stopped", atNs: 1n })),
      (error) => isKind(error, "failed-precondition"),
    );
    assert.equal(store.get("a"), before);
    assert.equal(records.rows.get("a"), before);
    assert.deepEqual(heard, ["a listed creating"]);
  });

  test("remove() deletes everywhere, and succeeds for an unknown id", () => {
    const { records, store, heard } = filled("abc", "abd");
    store.list("abc");
    store.list("abd");
    store.remove("abc");
    store.remove("abc");
    store.remove("never");
    assert.equal(store.peek("abc"), undefined);
    assert.equal(store.find("ab")?.id, "abd");
    assert.deepEqual([...records.rows.keys()], ["abd"]);
    assert.throws(() => store.get("abc"), /find sandbox "abc": there is none/);
    assert.deepEqual(heard.at(-1), "abc removed creating");
    assert.equal(heard.length, 3);
  });

  test("the removal of an unlisted sandbox is not reported to listeners", () => {
    const { store, heard } = filled("a");
    store.remove("a");
    assert.deepEqual(heard, []);
  });

  test("finds by a unique prefix among the listed ones only", () => {
    const { store } = filled("abc1", "abc2");
    store.list("abc1");
    assert.equal(store.resolve("abc").id, "abc1");
    store.list("abc2");
    assert.throws(
      () => store.resolve("abc"),
      (error) => isKind(error, "invalid-argument"),
    );
    assert.throws(
      () => store.find(""),
      (error) => isKind(error, "invalid-argument"),
    );
  });

  test("lists in the order of listing, however often they change", () => {
    const { store } = filled("c", "a", "b");
    for (const id of ["b", "c", "a"]) store.list(id);
    store.update("b", become({ name: "ready" }));
    assert.deepEqual(
      [...store.listed()].map(({ id }) => id),
      ["b", "c", "a"],
    );
  });

  test("a name has one sandbox until that is removed", () => {
    const { records, store } = filled("a");
    assert.throws(
      () => store.add(sandbox("b", "name-a")),
      (error) => isKind(error, "already-exists") && /sandbox "a" has it/.test(String(error)),
    );
    assert.equal(records.rows.size, 1);
    store.remove("a");
    store.add(sandbox("b", "name-a"));
    assert.equal(store.idOfName("name-a"), "b");
  });

  test("load() adds a stored sandbox without writing it; the first one gets the name", () => {
    const { records, store, heard } = filled();
    records.failure = new Error("nobody may write");
    store.load(sandbox("a", "same"));
    store.load(sandbox("b", "same"));
    assert.equal(store.idOfName("same"), "a");
    assert.deepEqual(
      [...store.all()].map(({ id }) => id),
      ["a", "b"],
    );
    records.failure = undefined;
    store.remove("b");
    assert.equal(store.idOfName("same"), "a");
    assert.deepEqual(heard, []);
  });

  test("a listener is not called after it was disposed of, also during a call", () => {
    const { store } = filled("a");
    const heard: string[] = [];
    const subscription = store.listen((_sandbox, change) => {
      heard.push(change);
      subscription[Symbol.dispose]();
    });
    store.list("a");
    store.update("a", become({ name: "ready" }));
    assert.deepEqual(heard, ["listed"]);
  });
});
