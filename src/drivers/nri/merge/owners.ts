import { create } from "@bufbuild/protobuf";
import { RuntimeError } from "../../../base/errors.ts";
import { quote } from "../../../base/quote.ts";
import {
  type CompoundFieldOwners,
  CompoundFieldOwnersSchema,
  type Field,
  type FieldOwners,
  FieldOwnersSchema,
  FieldSchema,
  type OwningPlugins,
  OwningPluginsSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";

/** A field of a container, or one entry of it: a mount by its destination, a variable by its name. */
export interface Claim {
  readonly field: Field;
  readonly key?: string;
}

interface FieldsOfContainer {
  readonly simple: Map<Field, string>;
  readonly compound: Map<Field, Map<string, string>>;
}

// Who removed an entry, and may set it again. A plugin's name begins with two digits.
const remover = "-";

/**
 * Which plugin set which field of which container. Keys are those of containers and plugins, so that they are
 * only ever keys of maps.
 */
export class Owners {
  readonly #containers = new Map<string, FieldsOfContainer>();

  /**
   * Makes `plugin` the owner of a field. `failed-precondition` naming both plugins where another one is; one that set
   * the same entry twice is told so too. A plugin that removed an entry before may set it.
   */
  claim(id: string, { field, key }: Claim, plugin: string): void {
    const owners = this.#ownersOf(id, field, key);
    const other = owners.get();
    if (other !== undefined && other !== `${remover}${plugin}`) {
      refuseConflict(id, { field, ...(key === undefined ? {} : { key }) }, plugin, other);
    }
    owners.set(plugin);
  }

  /** Takes a field from its owner: `plugin` alone may set it then. */
  clear(id: string, { field, key }: Claim, plugin: string): void {
    this.#ownersOf(id, field, key).set(`${remover}${plugin}`);
  }

  /** Adds a plugin to the owners of a field that several may add to. */
  share(id: string, field: Field, plugin: string): void {
    const owners = this.#ownersOf(id, field, undefined);
    const others = owners.get();
    owners.set(others === undefined ? plugin : `${others},${plugin}`);
  }

  /** Runs a function; when it throws, the owners of this container are as before. */
  attempt(id: string, run: () => void): void {
    const before = this.#containers.get(id);
    const copy = before && {
      simple: new Map(before.simple),
      compound: new Map([...before.compound].map(([field, keys]) => [field, new Map(keys)])),
    };
    try {
      run();
    } catch (error) {
      if (copy === undefined) this.#containers.delete(id);
      else this.#containers.set(id, copy);
      throw error;
    }
  }

  /** As NRI has it, for validators. */
  message(): OwningPlugins {
    const owners: Record<string, FieldOwners> = Object.fromEntries(
      [...this.#containers].map(([id, fields]) => [id, fieldOwners(fields)]),
    );
    return create(OwningPluginsSchema, { owners });
  }

  #ownersOf(
    id: string,
    field: Field,
    key: string | undefined,
  ): { get: () => string | undefined; set: (plugin: string) => void } {
    const fields = entry(this.#containers, id, newFields);
    if (key === undefined) {
      return {
        get: () => fields.simple.get(field),
        set: (plugin) => void fields.simple.set(field, plugin),
      };
    }
    const owners = entry(fields.compound, field, () => new Map<string, string>());
    return { get: () => owners.get(key), set: (plugin) => void owners.set(key, plugin) };
  }
}

function fieldOwners({ simple, compound }: FieldsOfContainer): FieldOwners {
  const ofEntries = [...compound].map(([field, owners]) => [
    field,
    create(CompoundFieldOwnersSchema, { owners: Object.fromEntries(owners) }),
  ]);
  return create(FieldOwnersSchema, {
    simple: Object.fromEntries(simple),
    compound: Object.fromEntries(ofEntries) as Record<number, CompoundFieldOwners>,
  });
}

function newFields(): FieldsOfContainer {
  return { simple: new Map(), compound: new Map() };
}

function entry<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

function refuseConflict(id: string, claim: Claim, plugin: string, other: string): never {
  const first = other.startsWith(remover) ? other.slice(1) : other;
  const what = claimName(claim);
  throw new RuntimeError(
    "failed-precondition",
    first === plugin
      ? `change container ${quote(id)}: NRI plugin ${quote(plugin)} sets ${what} twice`
      : `change container ${quote(id)}: NRI plugins ${quote(first)} and ${quote(plugin)} both set ${what}; change the configuration of one of them`,
  );
}

/** A field as messages name it: by NRI's name of it, with the entry. */
function claimName({ field, key }: Claim): string {
  const name = FieldSchema.value[field]?.name ?? String(field);
  return key === undefined ? name : `${name} ${quote(key)}`;
}
