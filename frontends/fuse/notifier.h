// SPDX-License-Identifier: Apache-2.0
//
// The process that writes a broker's invalidations to a device, because the kernel may keep their
// writer waiting for long (broker/notifier.h).
#pragma once

namespace airstore::fuse {

// Takes the device from the channel, then does what each packet that comes asks for (shm/channel.h)
// and confirms it, until the broker is gone. Returns the exit status.
int RunNotifier(int channel);

}  // namespace airstore::fuse
