// SPDX-License-Identifier: Apache-2.0
//
// The channel of one mount: a SEQPACKET socket over which the broker hands descriptors to the
// frontend. Nothing else travels here; calls go through the lane.
//
// The first one is a socket pair, made with the process. When the broker has died, the next one
// connects to a socket on which the frontend listens; what it learns there (kHello and kSlab) is
// enough to serve the mount, or to end it, and kReattach makes that connection the channel.
// Threads: stateless functions; a socket has one reader and one writer at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "shm/base/fd.h"
#include "shm/base/result.h"
#include "shm/segment.h"

namespace airstore::shm {

enum class ChannelKind : uint32_t {
  kAttach = 1,   // broker -> frontend, first: fds {protocol device, meta ro, lane, arena, wake
                 // eventfd, bound socket to listen on}
  kSlab = 2,     // broker -> frontend: id = slab index, fds {slab ro}
  kContent = 3,  // broker -> frontend: id = content file id, fds {content ro}
  kReady = 4,    // frontend -> broker: serving
  kFailed = 5,   // frontend -> broker: cannot serve, text says why
  // frontend -> who connects, first: fds {protocol device, meta ro}; id = how many kSlab follow.
  // These two are first in every version of this message: any broker can end the mount, or have
  // what there is brought into its own layout (portable.h).
  kHello = 6,
  kReattach = 7,  // new broker -> frontend: fds {meta ro, wake eventfd}; kReady or kFailed follows
  // broker -> process that writes its invalidations, first and only one: fds {protocol device}.
  // Then packets of bytes for the device, or of four zeros and a path that is looked up, as
  // somebody who goes there would; each is confirmed with an errno of 4 bytes.
  kNotify = 8,
  kRefuse = 9,      // broker -> airstore-nfs --refuse, first and only one: fds {listening socket}
  kSlabEnded = 10,  // broker -> frontend: id = slab index; to be unmapped. No descriptors
};

inline constexpr uint32_t kChannelText = 504;

// POD as sent; both ends are of one build, `abi_major` says so.
struct ChannelMessage {
  uint32_t kind;  // ChannelKind
  uint32_t abi_major;
  uint64_t id;
  uint8_t session[16];
  uint32_t mount_index;
  uint32_t flags;     // AttachFlags
  uint32_t show_uid;  // kShowUid: present every file as owned by ...
  uint32_t show_gid;
  uint32_t abi_minor;
  uint32_t text_bytes;
  uint32_t anonymous_uid;  // kSquashRoot, kSquashAll: whom those who are squashed act as
  uint32_t anonymous_gid;
  char text[kChannelText];
};

enum AttachFlags : uint32_t {
  kAttachReadOnly = 1u << 0,
  kAttachPassthrough = 1u << 1,  // negotiate it with the kernel
  kShowUid = 1u << 2,
  kShowGid = 1u << 3,
  kSquashRoot = 1u << 4,  // uid 0 acts as the anonymous user: the frontend checks
  kSquashAll = 1u << 5,   // everybody does
  kRelatime = 1u << 6,    // reading moves times of access, see access_time.h
};

struct Received {
  ChannelMessage message{};
  std::vector<UniqueFd> fds;
};

// EPIPE when the other side is gone; ENOBUFS when a non-blocking socket is full.
Result<void> SendMessage(int socket, const ChannelMessage& message, const std::vector<int>& fds);
// The same, but never waits. ENOBUFS: there is no room now.
Result<void> OfferMessage(int socket, const ChannelMessage& message, const std::vector<int>& fds);
// Blocks. ECONNRESET at the end of the stream; EPROTO on a malformed message.
Result<Received> ReceiveMessage(int socket);
// The same for a kHello, which may be of another version: kind, version and descriptors are right,
// the rest only if the version is ours.
Result<Received> ReceiveHello(int socket);

// Descriptors alone, in a packet of one byte that is 0: between programs of any two ABIs.
Result<void> SendDescriptors(int socket, const std::vector<int>& fds);
Result<std::vector<UniqueFd>> ReceiveDescriptors(int socket);

}  // namespace airstore::shm
