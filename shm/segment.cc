// SPDX-License-Identifier: Apache-2.0
#include "shm/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <boost/interprocess/exceptions.hpp>
#include <cstdio>
#include <new>

#include "shm/abi.h"

namespace airstore::shm {
namespace {

namespace bip = boost::interprocess;

#ifndef MFD_NOEXEC_SEAL
constexpr unsigned kMfdNoExecSeal = 0x8;
#else
constexpr unsigned kMfdNoExecSeal = MFD_NOEXEC_SEAL;
#endif

constexpr int kRequiredSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
// The creator's mapping stays writable, no later one can be: a receiver that re-opens its read-only
// descriptor through /proc gets nowhere, whatever the permissions of the memfd say.
constexpr int kCreatorSeals = kRequiredSeals | F_SEAL_FUTURE_WRITE;

const char* KindName(SegmentKind kind) {
  switch (kind) {
    case SegmentKind::kMeta:
      return "meta";
    case SegmentKind::kSlab:
      return "slab";
    case SegmentKind::kLane:
      return "lane";
    case SegmentKind::kArena:
      return "arena";
  }
  return "unknown";
}

bool IsMemfdKind(SegmentKind kind) {
  return kind == SegmentKind::kMeta || kind == SegmentKind::kSlab;
}

std::string Describe(const char* what, const Segment::Identity& identity) {
  return std::string(what) + " " + KindName(identity.kind) + " segment " +
         std::to_string(identity.index);
}

// What Boost wants of something that can be mapped; avoids a second open through /proc.
struct Mappable {
  int fd;
  bip::mapping_handle_t get_mapping_handle() const {
    return bip::ipcdetail::mapping_handle_from_file_handle(fd);
  }
};

Result<std::shared_ptr<bip::mapped_region>> Map(int fd, uint64_t bytes, bip::mode_t mode) {
  try {
    return std::make_shared<bip::mapped_region>(Mappable{fd}, mode, 0, bytes);
  } catch (const bip::interprocess_exception& e) {
    const int code = e.get_native_error();
    return Error{code != 0 ? code : EIO, "mmap"};
  }
}

Result<int> OpenMemfd(const std::string& name) {
  int fd = memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | kMfdNoExecSeal);
  if (fd < 0 && errno == EINVAL) {  // before Linux 6.3
    fd = memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  }
  if (fd < 0) return SysError("memfd_create");
  return fd;
}

uint64_t StartTicks() {
  FILE* file = fopen("/proc/self/stat", "re");
  if (file == nullptr) return 0;
  char line[1024];
  const size_t length = fread(line, 1, sizeof(line) - 1, file);
  fclose(file);
  line[length] = '\0';
  // The command name may hold spaces and parentheses: count fields behind its last ')'.
  const char* at = strrchr(line, ')');
  for (int field = 2; at != nullptr && field < 22; ++field) at = strchr(at + 1, ' ');
  return at == nullptr ? 0 : strtoull(at, nullptr, 10);
}

Result<uint64_t> FileBytes(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) return SysError("fstat");
  if (!S_ISREG(st.st_mode)) return Error{EPROTO, "not a file"};
  return static_cast<uint64_t>(st.st_size);
}

Error Mismatch(AttachState state, const Segment::Identity& expected, const SegmentHeader* header) {
  std::string text = Describe("attach", expected) + ": " + AttachStateName(state);
  if (state == AttachState::kWrongVersion && header != nullptr) {
    text +=
        " (theirs " + AbiText(header->abi_major, header->abi_minor) + ", ours " + OwnAbi() + ")";
  }
  return Error{EPROTO, std::move(text)};
}

}  // namespace

const char* AttachStateName(AttachState state) {
  switch (state) {
    case AttachState::kOk:
      return "ok";
    case AttachState::kNotReady:
      return "not ready";
    case AttachState::kWrongMagic:
      return "wrong magic";
    case AttachState::kWrongVersion:
      return "wrong version";
    case AttachState::kWrongKind:
      return "wrong kind";
    case AttachState::kWrongSession:
      return "wrong session";
    case AttachState::kTooShort:
      return "too short";
    case AttachState::kNotSealed:
      return "not sealed";
    case AttachState::kWrongIndex:
      return "wrong index";
  }
  return "unknown";
}

AttachState CheckHeader(const SegmentHeader& header, const Segment::Identity& expected,
                        uint64_t bytes) {
  if (bytes < sizeof(SegmentHeader)) return AttachState::kTooShort;
  // Pairs with the release in MarkReady: behind it every other field is final.
  if (header.ready.load(std::memory_order_acquire) != kSegmentReady) {
    return header.magic != kMagic && header.magic != 0 ? AttachState::kWrongMagic
                                                       : AttachState::kNotReady;
  }
  if (header.magic != kMagic) return AttachState::kWrongMagic;
  if (header.abi_major != AbiMajor() || header.header_bytes != sizeof(SegmentHeader)) {
    return AttachState::kWrongVersion;
  }
  if (header.kind != static_cast<uint32_t>(expected.kind)) return AttachState::kWrongKind;
  if (memcmp(header.session_id, expected.session.data(), expected.session.size()) != 0) {
    return AttachState::kWrongSession;
  }
  if (header.index != expected.index) return AttachState::kWrongIndex;
  if (header.total_bytes > bytes || header.total_bytes < sizeof(SegmentHeader)) {
    return AttachState::kTooShort;
  }
  return AttachState::kOk;
}

Segment::Segment(UniqueFd fd, Region region)
    : fd_(std::move(fd)),
      region_(std::move(region)),
      base_(static_cast<uint8_t*>(region_->get_address())) {}

Segment::~Segment() = default;

Result<std::unique_ptr<Segment>> Segment::Format(UniqueFd fd, const Identity& identity,
                                                 uint64_t bytes) {
  auto region = Map(fd.get(), bytes, bip::read_write);
  if (!region) return region.error();
  std::unique_ptr<Segment> segment(new Segment(std::move(fd), *std::move(region)));
  auto* header = new (segment->base()) SegmentHeader{};
  header->magic = kMagic;
  header->abi_major = AbiMajor();
  header->abi_minor = kAbiMinor;
  header->kind = static_cast<uint32_t>(identity.kind);
  header->header_bytes = sizeof(SegmentHeader);
  header->total_bytes = bytes;
  memcpy(header->session_id, identity.session.data(), identity.session.size());
  header->creator_pid = static_cast<uint32_t>(getpid());
  header->index = identity.index;
  header->creator_start_ticks = StartTicks();
  return segment;
}

Result<std::unique_ptr<Segment>> Segment::CreateMemfd(const Identity& identity, uint64_t bytes) {
  if (bytes < sizeof(SegmentHeader)) return Error{EINVAL, Describe("create", identity)};
  const std::string name =
      std::string("airstore-") + KindName(identity.kind) + "-" + std::to_string(identity.index);
  auto raw = OpenMemfd(name);
  if (!raw) return raw.error();
  UniqueFd fd(*raw);
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return SysError(Describe("size", identity));
  }
  // Behind F_SEAL_FUTURE_WRITE nobody can map for writing: map first, seal then.
  const int raw_fd = fd.get();
  auto header_page = Allocate(raw_fd, 0, sizeof(SegmentHeader));
  if (!header_page) return header_page.error();
  auto segment = Format(std::move(fd), identity, bytes);
  if (!segment) return segment;
  if (fcntl(raw_fd, F_ADD_SEALS, kCreatorSeals) != 0) return SysError(Describe("seal", identity));
  return segment;
}

Result<std::unique_ptr<Segment>> Segment::CreateSpool(const Identity& identity, uint64_t bytes,
                                                      const std::string& path) {
  if (bytes < sizeof(SegmentHeader)) return Error{EINVAL, Describe("create", identity)};
  // A file that is there may still be mapped by somebody: truncating it would kill them.
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return SysError("unlink " + path);
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return SysError("create " + path);
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return SysError("size " + path);
  // A store into a hole on a full disk is a SIGBUS: own every block before anybody maps it.
  if (auto allocated = Allocate(fd.get(), 0, bytes); !allocated) {
    unlink(path.c_str());
    return Error{allocated.error().code, "allocate " + path};
  }
  return Format(std::move(fd), identity, bytes);
}

Result<std::unique_ptr<Segment>> Segment::Attach(UniqueFd fd, const Identity& expected,
                                                 bool writable) {
  auto bytes = FileBytes(fd.get());
  if (!bytes) return Error{bytes.error().code, Describe("attach", expected)};
  if (IsMemfdKind(expected.kind)) {
    const int seals = fcntl(fd.get(), F_GET_SEALS);
    if (seals < 0 || (seals & kRequiredSeals) != kRequiredSeals) {
      return Mismatch(AttachState::kNotSealed, expected, nullptr);
    }
  }
  if (*bytes < sizeof(SegmentHeader)) {
    return Mismatch(AttachState::kTooShort, expected, nullptr);
  }
  auto region = Map(fd.get(), *bytes, writable ? bip::read_write : bip::read_only);
  if (!region) return Error{region.error().code, Describe("map", expected)};
  std::unique_ptr<Segment> segment(new Segment(std::move(fd), *std::move(region)));
  // Not from the map: whoever else has the file may cut it, and nobody guards the map yet.
  SegmentHeader header;
  if (pread(segment->fd(), &header, sizeof(header), 0) != ssize_t{sizeof(header)}) {
    return Mismatch(AttachState::kTooShort, expected, nullptr);
  }
  const AttachState state = CheckHeader(header, expected, *bytes);
  if (state != AttachState::kOk) return Mismatch(state, expected, &header);
  return segment;
}

Result<void> Segment::Allocate(uint64_t offset, uint64_t bytes) const {
  return Allocate(fd_.get(), offset, bytes);
}

Result<void> Segment::Allocate(int fd, uint64_t offset, uint64_t bytes) {
  int code;
  do {
    code = posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes));
  } while (code == EINTR);
  if (code != 0) return Error{code, "allocate segment memory"};
  return {};
}

Result<void> Segment::TakePlace(std::unique_ptr<Segment> other) {
  if (other->size() != size()) return Error{EPROTO, "segment of another size"};
  // Who faults meanwhile waits for the kernel's lock, and never finds a hole.
  if (mmap(base_, size(), PROT_READ, MAP_SHARED | MAP_FIXED, other->fd(), 0) == MAP_FAILED) {
    return SysError("map a segment in place of another");
  }
  fd_ = std::move(other->fd_);
  return {};
}

void Segment::MarkReady() {
  At<SegmentHeader>(0)->ready.store(kSegmentReady, std::memory_order_release);
}

Result<std::unique_ptr<Segment>> Segment::Alias() const {
  UniqueFd fd(fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!fd) return SysError("duplicate segment descriptor");
  return std::unique_ptr<Segment>(new Segment(std::move(fd), region_));
}

Result<UniqueFd> Segment::OpenReadOnly() const {
  const std::string path = "/proc/self/fd/" + std::to_string(fd_.get());
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return SysError("open " + path);
  return fd;
}

}  // namespace airstore::shm
