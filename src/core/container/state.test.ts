import assert from "node:assert/strict";
import { test } from "node:test";
import { checkContainerTransition, type ContainerStateName } from "./state.ts";

test("checkContainerTransition() allows the arrows of the diagram and the same state, nothing else", () => {
  const names: readonly ContainerStateName[] = ["creating", "created", "running", "exited"];
  const arrows = new Set([
    "creating created",
    "created running",
    "created exited",
    "running exited",
  ]);
  for (const from of names) {
    for (const to of names) {
      const check = (): void => {
        checkContainerTransition("a", from, to);
      };
      if (from === to || arrows.has(`${from} ${to}`)) check();
      else {
        const message = `change container "a": it is ${from} and cannot become ${to}`;
        assert.throws(check, { kind: "failed-precondition", message });
      }
    }
  }
});
