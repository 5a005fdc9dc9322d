import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Question } from "./confirm.tsx";
import { formatBytes, shortId } from "./format.ts";
import { request } from "./session.ts";
import type { ImageView } from "./view.ts";

/** The images with their sizes, shared layers and users. */
export function Images({
  images,
  filter,
  canWrite,
  ask,
}: {
  readonly images: readonly ImageView[] | undefined;
  readonly filter: string;
  readonly canWrite: boolean;
  readonly ask: (question: Question) => void;
}): JSX.Element {
  const [open, setOpen] = useState("");
  const shown = (images ?? []).filter(({ id, names }) =>
    [id, ...names].join("\n").toLowerCase().includes(filter.toLowerCase()),
  );
  if (shown.length === 0) {
    return (
      <p class="empty">
        {images === undefined
          ? "Loading…"
          : filter === ""
            ? "There are no images."
            : "No image matches the filter."}
      </p>
    );
  }
  const largest = Math.max(1, ...(images ?? []).map(({ size }) => size));
  return (
    <section class="images" aria-label="Images">
      {shown.map((image) => (
        <div class="image" key={image.id}>
          <button
            data-row
            class="imagerow"
            aria-expanded={open === image.id}
            onClick={() => setOpen(open === image.id ? "" : image.id)}
          >
            <span class="name">
              {image.names[0] ?? shortId(image.id)}
              <span class="dim sub">
                {shortId(image.id)}
                {image.pinned ? " · pinned" : ""}
              </span>
            </span>
            <span class="size">
              <span class="track">
                <span style={{ width: `${(image.size / largest) * 100}%` }} />
              </span>
              {formatBytes(image.size)}
            </span>
            <Layers layers={image.layers} />
            <span class="right dim">{users(image.usedBy.length)}</span>
          </button>
          {open === image.id ? <ImageDetail {...{ image, canWrite, ask }} /> : null}
        </div>
      ))}
    </section>
  );
}

function users(count: number): string {
  if (count === 0) return "unused";
  return count === 1 ? "1 container" : `${count} containers`;
}

function Layers({ layers }: Pick<ImageView, "layers">): JSX.Element {
  const shared = layers.filter(({ images }) => images > 1).length;
  return (
    <span class="layerset">
      <span class="blocks" aria-hidden="true">
        {layers.slice(0, 24).map(({ diffId, images }, at) => (
          <span
            key={at}
            class={images > 1 ? "shared" : ""}
            title={`${shortId(diffId)}: in ${images} images`}
          />
        ))}
      </span>
      <span class="dim">
        {layers.length === 0 ? "" : `${layers.length} layers`}
        {shared === 0 ? "" : `, ${shared} shared`}
      </span>
    </span>
  );
}

function ImageDetail({
  image,
  canWrite,
  ask,
}: {
  readonly image: ImageView;
  readonly canWrite: boolean;
  readonly ask: (question: Question) => void;
}): JSX.Element {
  const { id, names, usedBy } = image;
  return (
    <div class="imagedetail">
      <dl>
        <dt>Id</dt>
        <dd>{id}</dd>
        <dt>Names</dt>
        {names.map((name) => (
          <dd key={name}>{name}</dd>
        ))}
        <dt>Used by</dt>
        {usedBy.length === 0 ? <dd>no container</dd> : null}
        {usedBy.map((name, at) => (
          <dd key={at}>{name}</dd>
        ))}
      </dl>
      {canWrite && usedBy.length === 0 ? (
        <button
          class="danger"
          onClick={() =>
            ask({
              title: "Remove this image?",
              text: names[0] ?? id,
              verb: "Remove",
              run: () => request("/api/action", { action: "remove-image", id }),
            })
          }
        >
          Remove image
        </button>
      ) : null}
    </div>
  );
}
