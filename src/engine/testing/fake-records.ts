import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import type { Container, ContainerRecords } from "../../core/container/index.ts";
import type { Image, ImageRecords } from "../../core/image/index.ts";
import type { Attachment, NotedAttachmentRecords } from "../../core/network/index.ts";
import type { Sandbox, SandboxRecords, SetAsideRecord } from "../../core/sandbox/index.ts";

/** All records in memory, on a disk that can be full. */
export class FakeRecords
  implements SandboxRecords, ContainerRecords, ImageRecords, NotedAttachmentRecords
{
  readonly sandboxes = new Map<string, Sandbox>();
  readonly containers = new Map<string, Container>();
  readonly images = new Map<Digest, Image>();
  readonly attachments = new Map<string, Attachment>();
  readonly notes = new Set<string>();
  readonly aside: SetAsideRecord[] = [];
  /** Nothing can be written or deleted. */
  full = false;

  loadSandboxes(): readonly Sandbox[] {
    return [...this.sandboxes.values()];
  }

  putSandbox(sandbox: Sandbox): void {
    this.#write();
    this.sandboxes.set(sandbox.id, sandbox);
  }

  deleteSandbox(id: string): void {
    this.#write();
    this.sandboxes.delete(id);
  }

  setAsideSandbox(id: string, reason: string): void {
    this.sandboxes.delete(id);
    this.aside.push({ kind: "sandbox", id, reason });
  }

  setAside(): readonly SetAsideRecord[] {
    return this.aside;
  }

  loadContainers(): readonly Container[] {
    return [...this.containers.values()];
  }

  putContainer(container: Container): void {
    this.#write();
    this.containers.set(container.id, container);
  }

  deleteContainer(id: string): void {
    this.#write();
    this.containers.delete(id);
  }

  loadImages(): readonly Image[] {
    return [...this.images.values()];
  }

  putImage(image: Image): void {
    this.#write();
    this.images.set(image.id, image);
  }

  deleteImage(id: Digest): void {
    this.#write();
    this.images.delete(id);
  }

  loadAttachments(): readonly Attachment[] {
    return [...this.attachments.values()];
  }

  putAttachment(attachment: Attachment): void {
    this.#write();
    this.attachments.set(attachment.sandboxId, attachment);
  }

  deleteAttachment(sandboxId: string): void {
    this.#write();
    this.attachments.delete(sandboxId);
  }

  async noteAttachment(attachment: Attachment): Promise<void> {
    this.notes.add(attachment.sandboxId);
  }

  async deleteNote(sandboxId: string): Promise<void> {
    this.notes.delete(sandboxId);
  }

  #write(): void {
    if (this.full)
      throw new RuntimeError("resource-exhausted", "write the record: the disk is full");
  }
}
