import { clone, create, toBinary } from "@bufbuild/protobuf";
import {
  type Container,
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  ContainerSchema,
  type CreateContainerRequest,
  CreateContainerRequestSchema,
  type CreateContainerResponse,
  type OwningPlugins,
  type PluginInstance,
  type ValidateContainerAdjustmentRequest,
  ValidateContainerAdjustmentRequestSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { mergeAdjustment, withoutEmpty } from "./adjustment.ts";
import { refusal } from "./answer.ts";
import { checkAdjustment } from "./check/adjustment.ts";
import { ChangesOfOthers } from "./others.ts";
import { Owners } from "./owners.ts";

// It is kept in the container's record. Bytes.
const largestAdjustment = 1024 * 1024;

/** What the plugins make of a new container: their answers, applied one after the other. */
export class CreateResult {
  readonly #original: CreateContainerRequest;
  /** The original until a plugin changes something: the copy is the most expensive part of an answer. */
  #shown: CreateContainerRequest;
  readonly #owners = new Owners();
  readonly #others = new ChangesOfOthers(this.#owners);
  #adjustment: ContainerAdjustment | undefined;

  constructor(request: CreateContainerRequest) {
    this.#original = request;
    this.#shown = request;
  }

  /** What the next plugin is shown: the container with what the plugins before it changed. */
  get request(): CreateContainerRequest {
    return this.#shown;
  }

  /**
   * Merges a plugin's answer. `failed-precondition` naming the plugin, the container and the field for an answer
   * that is invalid, and both plugins for one that contradicts the answer of an earlier plugin.
   */
  apply(answer: CreateContainerResponse, plugin: string): void {
    const id = this.#original.container?.id ?? "";
    const { adjust, update, evict } = answer;
    const refuse = refusal(plugin, id);
    if (adjust !== undefined) {
      checkAdjustment(adjust, refuse);
      const context = { plugin, container: id, owners: this.#owners, refuse };
      const collected = this.#adjustment ?? create(ContainerAdjustmentSchema);
      mergeAdjustment(context, adjust, { collected, container: this.#ownContainer() });
      this.#adjustment = withoutEmpty(collected);
      const bytes =
        this.#adjustment && toBinary(ContainerAdjustmentSchema, this.#adjustment).length;
      if (bytes !== undefined && bytes > largestAdjustment) {
        refuse(
          "adjust",
          `all adjustments have ${bytes} bytes, at most ${largestAdjustment} can be`,
        );
      }
    }
    this.#others.apply({ update, evict }, { plugin, created: id });
  }

  /** The container of the request, which may be changed. */
  #ownContainer(): Container {
    if (this.#shown === this.#original) {
      this.#shown = clone(CreateContainerRequestSchema, this.#original);
    }
    return (this.#shown.container ??= create(ContainerSchema));
  }

  /** All adjustments as one; undefined where no plugin adjusts anything. */
  get adjustment(): ContainerAdjustment | undefined {
    return this.#adjustment;
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

  /** What validators are asked: the container before all adjustments, these, and who owns them. */
  validation(plugins: readonly PluginInstance[]): ValidateContainerAdjustmentRequest {
    const { pod, container } = this.#original;
    return create(ValidateContainerAdjustmentRequestSchema, {
      ...(pod === undefined ? {} : { pod }),
      ...(container === undefined ? {} : { container }),
      // The Go implementation always sends one, even an empty one.
      adjust: this.#adjustment ?? create(ContainerAdjustmentSchema),
      update: [...this.updates],
      owners: this.owners,
      plugins: [...plugins],
    });
  }
}
