/*
 * Gives memory back to the kernel that an idle process does not need.
 */
#include "davit.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Unmaps the pages of the program's code and constants; the next use of a page is a minor
 * fault that finds it in the page cache. Only segments that are never writable: they cannot
 * differ from the file, so nothing is lost (a segment with relocations is writable at first).
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
    /* After an error the pages stay mapped. */
    if (begin < end) (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
  }
  return 1; /* the program comes first (dl_iterate_phdr(3)); libraries are small */
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
