import assert from "node:assert/strict";
import { test } from "node:test";
import {
  checkContainerTransition,
  containerTransitions,
  type ContainerStateName,
} from "./state.ts";

test("a container makes the moves of the table, and no others", () => {
  const names = Object.keys(containerTransitions) as ContainerStateName[];
  for (const from of names) {
    for (const to of names) {
      const isAllowed =
        from === to || (containerTransitions[from] as readonly string[]).includes(to);
      const move = (): void => {
        checkContainerTransition("a", from, to);
      };
      if (isAllowed) move();
      else {
        const message = `change container "a": it is ${from} and cannot become ${to}`;
        assert.throws(move, { kind: "failed-precondition", message });
      }
    }
  }
});
