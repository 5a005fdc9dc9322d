import type { ContainerEviction, ContainerUpdate } from "../changes.ts";
import { text } from "./check.ts";
import { ResourcesBuilder } from "./resources.ts";

/** Builds an update of a container that exists: new limits. Start with `update()`. */
export class Update extends ResourcesBuilder {
  readonly #containerId: string;
  #ignoreFailure = false;

  constructor(containerId: string) {
    super();
    this.#containerId = text("update", containerId);
  }

  /** When this update fails, the request that it answers succeeds. */
  ignoreFailure(): this {
    this.#ignoreFailure = true;
    return this;
  }

  /** The update as a plain value. */
  build(): ContainerUpdate {
    const resources = this.resources();
    return {
      containerId: this.#containerId,
      ...(resources === undefined ? {} : { linux: { resources } }),
      ignoreFailure: this.#ignoreFailure,
    };
  }
}

/** Starts an update of the container with this id. */
export function update(containerId: string): Update {
  return new Update(containerId);
}

/** A request to stop a container, with the reason that the runtime shows. Not every runtime carries evictions out. */
export function evict(containerId: string, reason: string): ContainerEviction {
  return { containerId: text("evict", containerId), reason: text("evict", reason) };
}
