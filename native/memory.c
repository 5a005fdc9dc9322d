/*
 * Memory that a start needed and a rest does not: gives it back to the kernel.
 */
#include "davit.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Unmaps the pages of the running program's own code and constants; the next use of one is a minor
 * fault that finds it in the page cache. Only segments that are never writable: nothing in them can
 * differ from the file, so nothing can be lost (a segment with relocations is writable at first).
 */
static int drop_program_pages(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size;
  (void)data;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
    if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) != 0) continue;
    uintptr_t begin = (info->dlpi_addr + segment->p_vaddr + page - 1) & ~(page - 1);
    uintptr_t end = (info->dlpi_addr + segment->p_vaddr + segment->p_memsz) & ~(page - 1);
    /* An error leaves the pages mapped, as they were. */
    if (begin < end) (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
  }
  return 1; /* the program comes first (dl_iterate_phdr(3)); what libraries have is little */
}

/* JS: releaseMemory(). */
static napi_value release_memory(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  malloc_trim(0);
  dl_iterate_phdr(drop_program_pages, NULL);
  return NULL;
}

napi_status memory_init(napi_env env, napi_value exports) {
  return add_function(env, exports, "releaseMemory", release_memory);
}
