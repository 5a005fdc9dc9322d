import { clone, create } from "@bufbuild/protobuf";
import {
  ContainerSchema,
  type LinuxResources,
  LinuxResourcesSchema,
  type OwningPlugins,
  type StopContainerResponse,
  type UpdateContainerRequest,
  UpdateContainerRequestSchema,
  type UpdateContainerResponse,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { ChangesOfOthers } from "./others.ts";
import { Owners } from "./owners.ts";

/** What the plugins make of an update of a container's resources. */
export class UpdateResult {
  /** What the next plugin is shown: with the resources as the plugins before it changed them. */
  readonly request: UpdateContainerRequest;
  readonly #id: string;
  readonly #resources: LinuxResources;
  readonly #owners = new Owners();
  readonly #others = new ChangesOfOthers(this.#owners);

  constructor(request: UpdateContainerRequest) {
    this.request = clone(UpdateContainerRequestSchema, request);
    this.#id = (this.request.container ?? create(ContainerSchema)).id;
    this.#resources = this.request.linuxResources ??= create(LinuxResourcesSchema);
  }

  /** Merges a plugin's answer; errors as of CreateResult. */
  apply({ update, evict }: UpdateContainerResponse, plugin: string): void {
    const updated = { id: this.#id, resources: this.#resources };
    this.#others.apply({ update, evict }, { plugin, updated });
  }

  /** The resources to apply, instead of those of the request. */
  get resources(): LinuxResources {
    return this.#resources;
  }

  /** For other containers. */
  get updates(): ChangesOfOthers["updates"] {
    return this.#others.updates;
  }

  get evictions(): ChangesOfOthers["evictions"] {
    return this.#others.evictions;
  }

  get owners(): OwningPlugins {
    return this.#owners.message();
  }
}

/** What the plugins ask for other containers when one stops. */
export class StopResult {
  readonly #others = new ChangesOfOthers(new Owners());

  /** Merges a plugin's answer; errors as of CreateResult. */
  apply({ update }: StopContainerResponse, plugin: string): void {
    this.#others.apply({ update }, { plugin });
  }

  get updates(): ChangesOfOthers["updates"] {
    return this.#others.updates;
  }
}
