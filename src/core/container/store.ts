import { ObjectStore } from "../store/index.ts";
import type { Container, ContainerRecords } from "./container.ts";
import { checkContainerTransition } from "./state.ts";

/** All containers of this daemon. */
export class ContainerStore extends ObjectStore<Container> {
  constructor(records: Pick<ContainerRecords, "putContainer" | "deleteContainer">) {
    super({
      noun: "container",
      put: (container) => {
        records.putContainer(container);
      },
      delete: (id) => {
        records.deleteContainer(id);
      },
      checkChange: (before, after) => {
        checkContainerTransition(before.id, before.state.name, after.state.name);
      },
    });
  }
}
