import type { Field } from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { type AnswerContext, claim, clear, removalOf, splitRemoval } from "./answer.ts";

/** A list whose entries have names: what was collected of it, and what plugins are shown. */
export interface NamedList<Item> {
  readonly field: Field;
  readonly collected: readonly Item[];
  readonly answer: readonly Item[];
  /** The name of an entry, with the mark of a removal. */
  readonly nameOf: (item: Item) => string;
  /** An entry that stands for a removal. */
  readonly removal: (name: string) => Item;
}

/**
 * The adjustments of a list with those of one more plugin. An entry that another plugin set must be removed first;
 * a removal stays in the result, for what the container had before.
 */
export function mergedList<Item>(context: AnswerContext, list: NamedList<Item>): Item[] {
  const { field, answer, nameOf } = list;
  const { added, removed } = changesOf(list);
  const kept: Item[] = [];
  for (const item of list.collected) {
    const { key, removed: isRemoval } = splitRemoval(nameOf(item));
    const isChanged = removed.has(key) || added.has(key);
    if (!isRemoval && removed.has(key)) clear(context, { field, key });
    else if (!isRemoval || !isChanged) kept.push(item);
  }
  for (const item of answer) {
    const { key, removed: isRemoval } = splitRemoval(nameOf(item));
    if (isRemoval) continue;
    claim(context, { field, key });
    kept.push(item);
  }
  const gone = [...removed].filter((key) => !added.has(key));
  return [...kept, ...gone.map((key) => list.removal(removalOf(key)))];
}

/** What the next plugin is shown of a list: without what this one removed or replaced, and with what it set. */
export function shownList<Item>(
  shown: readonly Item[],
  list: Pick<NamedList<Item>, "answer" | "nameOf">,
): Item[] {
  const { added, removed } = changesOf(list);
  const kept = shown.filter((item) => {
    const name = list.nameOf(item);
    return !added.has(name) && !removed.has(name);
  });
  return [...kept, ...list.answer.filter((item) => !splitRemoval(list.nameOf(item)).removed)];
}

function changesOf<Item>({ answer, nameOf }: Pick<NamedList<Item>, "answer" | "nameOf">): {
  readonly added: ReadonlySet<string>;
  readonly removed: ReadonlySet<string>;
} {
  const names = answer.map((item) => splitRemoval(nameOf(item)));
  return {
    added: new Set(names.filter(({ removed }) => !removed).map(({ key }) => key)),
    removed: new Set(names.filter(({ removed }) => removed).map(({ key }) => key)),
  };
}

/** A map as protobuf has it. */
type Table<Value> = Record<string, Value>;

/** The same as {@link mergedList} for a map, and what the next plugin is shown of it. */
export function mergedTable<Value>(
  context: AnswerContext,
  table: {
    readonly field: Field;
    readonly collected: Table<Value>;
    readonly shown: Table<Value>;
    readonly answer: Table<Value>;
    /** The value that stands for a removal. */
    readonly removal: Value;
  },
): { readonly collected: Table<Value>; readonly shown: Table<Value> } {
  const { field } = table;
  const collected = new Map(Object.entries(table.collected));
  const shown = new Map(Object.entries(table.shown));
  const changes = Object.entries(table.answer).map(([name, value]) => ({
    ...splitRemoval(name),
    value,
  }));
  for (const { key } of changes.filter(({ removed }) => removed)) {
    if (collected.delete(key)) clear(context, { field, key });
    shown.delete(key);
    collected.set(removalOf(key), table.removal);
  }
  for (const { key, value } of changes.filter(({ removed }) => !removed)) {
    claim(context, { field, key });
    collected.delete(removalOf(key));
    collected.set(key, value);
    shown.set(key, value);
  }
  return { collected: Object.fromEntries(collected), shown: Object.fromEntries(shown) };
}
