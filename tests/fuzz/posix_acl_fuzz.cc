// SPDX-License-Identifier: Apache-2.0
//
// Access control lists as any program may set them. What is accepted stays valid whatever is done
// with it.
#include <cstdio>
#include <cstdlib>

#include "shm/posix_acl.h"

using airstore::shm::PosixAcl;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto acl = PosixAcl::Parse({reinterpret_cast<const char*>(data), size});
  if (!acl) return 0;
  uint32_t mode = 0100777;
  acl->ToMode(&mode);
  acl->SetMode(mode ^ (size % 8));
  acl->Inherit(&mode);
  (void)acl->Grants(
      1, true, [](uint32_t gid) { return gid % 2 == 0; }, 4);
  if (!PosixAcl::Parse(acl->Encode())) {
    fprintf(stderr, "broken: a valid list is none any more\n");
    abort();
  }
  return 0;
}
