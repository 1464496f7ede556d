// SPDX-License-Identifier: Apache-2.0
#include "tools/bench/drop_caches.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "shm/base/fd.h"

namespace airstore::bench {

Result<void> DropCache(KernelCache cache) {
  const std::string number = std::to_string(static_cast<int>(cache));
  const UniqueFd fd(open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC));
  if (!fd || write(fd.get(), number.data(), number.size()) != ssize_t{1}) {
    return SysError("drop_caches");
  }
  return {};
}

}  // namespace airstore::bench
