// SPDX-License-Identifier: Apache-2.0
#include "broker/remap.h"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

#include "broker/clock.h"
#include "broker/launcher.h"
#include "broker/service_manager.h"
#include "shm/abi.h"
#include "shm/base/fault.h"
#include "shm/channel.h"
#include "shm/portable.h"

namespace airstore::broker {
namespace {

constexpr int kExportMs = 20'000;
constexpr uint64_t kMostExported = 4ull << 30;
// Behind the names of files: those of the other ABI, and ours before they take their place.
constexpr char kOld[] = ".other-abi";
constexpr char kNew[] = ".new";

std::string NoteOf(const std::string& session_spool, uint32_t index) {
  return session_spool + "/stopped-" + std::to_string(index);
}

std::vector<std::string> FilesOf(const std::string& session_spool, uint32_t index) {
  const std::string number = std::to_string(index);
  return {session_spool + "/lane-" + number, session_spool + "/arena-" + number,
          session_spool + "/" + FrontendSocketName(index)};
}

// The part of a SegmentHeader that lies where it is in every ABI.
struct HeaderStart {
  uint64_t magic = 0;
  uint32_t abi_major = 0;
  uint32_t abi_minor = 0;
  uint64_t skipped[5] = {};
  uint64_t creator_start_ticks = 0;
};
static_assert(offsetof(HeaderStart, creator_start_ticks) ==
              offsetof(shm::SegmentHeader, creator_start_ticks));

HeaderStart HeaderOf(int fd) {
  HeaderStart header;
  if (pread(fd, &header, sizeof(header), 0) != sizeof(header)) return {};
  return header;
}

std::string Answer(const FrontendProcess& process) {
  pollfd readable{process.channel.get(), POLLIN, 0};
  int ready = 0;
  do {
    ready = poll(&readable, 1, kExportMs);
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) return "it takes too long";
  std::array<char, 1024> text;
  const ssize_t got = recv(process.channel.get(), text.data(), text.size(), 0);
  return got <= 0 ? "it died" : std::string(text.data(), static_cast<size_t>(got));
}

// A file in portable form, written by that program as that user, from these descriptors. Nobody
// can change it any more.
Result<UniqueFd> Export(const std::string& session_spool, const MountManifest& manifest,
                        const Caller& as, const std::vector<int>& from) {
  const std::string path =
      KeptProgram(session_spool, manifest.program_device, manifest.program_inode);
  const UniqueFd program(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  // It will not be there later either.
  if (!program) return Error{EPROTO, "open " + path + ": " + strerror(errno)};
  UniqueFd out(memfd_create("airstore-portable", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!out) return SysError("memfd_create");
  LaunchOptions launch;
  launch.program = path;
  launch.program_fd = program.get();
  launch.arguments = {"--export", manifest.spec.mountpoint};
  launch.uid = as.uid;
  launch.gid = as.gid;
  auto process = Launch(launch);
  if (!process) return Error{EPROTO, process.error().ToString()};
  std::vector<int> fds = {out.get()};
  fds.insert(fds.end(), from.begin(), from.end());
  const auto sent = shm::SendDescriptors(process->channel.get(), fds);
  const std::string answer = sent ? Answer(*process) : sent.error().ToString();
  Kill(*process);
  (void)Reap(*process);
  if (answer != "ok") return Error{EPROTO, "its program cannot say what there is: " + answer};
  struct stat info {};
  if (fcntl(out.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) !=
          0 ||
      fstat(out.get(), &info) != 0 || static_cast<uint64_t>(info.st_size) > kMostExported) {
    return Error{EPROTO, "somebody interferes with what its program says"};
  }
  return out;
}

Result<UniqueFd> ExportLane(const std::string& session_spool, const MountManifest& manifest) {
  const auto files = FilesOf(session_spool, manifest.index);
  const UniqueFd lane(open(files[0].c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!lane) return SysError("open " + files[0]);
  const UniqueFd arena(open(files[1].c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!arena) return SysError("open " + files[1]);
  return Export(session_spool, manifest, manifest.owner, {lane.get(), arena.get()});
}

bool IsNew(const std::filesystem::path& path) {
  const std::string stem = path.stem();
  return path.extension() == kNew && (stem.starts_with("lane-") || stem.starts_with("arena-"));
}

void Remove(const std::string& session_spool, bool (*which)(const std::filesystem::path&)) {
  std::error_code failed;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(session_spool, failed)) {
    if (which(entry.path())) files.push_back(entry.path());
  }
  for (const auto& file : files) (void)unlink(file.c_str());
}

void RemoveOld(const std::string& session_spool) {
  Remove(session_spool, [](const auto& path) { return path.extension() == kOld; });
}

// What of a session was brought over and not finished is as before: there is a note of its
// frontend. Where there is none any more, it was finished but for the old files.
void Restore(const std::string& session_spool) {
  for (uint32_t index = 0; index < shm::kMaxMounts; ++index) {
    const std::string note = NoteOf(session_spool, index);
    if (access(note.c_str(), F_OK) != 0) continue;
    const auto files = FilesOf(session_spool, index);
    const UniqueFd lane(open((files[0] + kOld).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (lane && HeaderOf(lane.get()).magic == shm::kMagic) {
      for (const std::string& file : files) (void)rename((file + kOld).c_str(), file.c_str());
    }
    spdlog::warn("{}: mount {} is as it was before another ABI was tried", session_spool, index);
    StoppedProcess::Continue(note);
  }
  RemoveOld(session_spool);
  Remove(session_spool, IsNew);
}

}  // namespace

LaneAbi AbiOfLane(const std::string& session_spool, uint32_t mount_index) {
  const std::string path = FilesOf(session_spool, mount_index)[0];
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  const HeaderStart header = file ? HeaderOf(file.get()) : HeaderStart{};
  if (header.magic != shm::kMagic) return {};
  return {header.abi_major, header.abi_minor};
}

std::string KeptProgram(const std::string& session_spool, uint64_t device, uint64_t inode) {
  return session_spool + "/program-" + std::to_string(device) + "-" + std::to_string(inode);
}

Result<void> KeepProgram(const std::string& program, const std::string& kept) {
  if (access(kept.c_str(), F_OK) == 0) return {};
  if (linkat(AT_FDCWD, program.c_str(), AT_FDCWD, kept.c_str(), AT_SYMLINK_FOLLOW) == 0) return {};
  const std::string fresh = kept + kNew;
  std::error_code failed;
  std::filesystem::copy_file(program, fresh, std::filesystem::copy_options::overwrite_existing,
                             failed);
  if (failed) return Error{failed.value(), "copy " + program + " to " + fresh};
  if (chmod(fresh.c_str(), 0755) != 0 || rename(fresh.c_str(), kept.c_str()) != 0) {
    return SysError("rename " + fresh);
  }
  return {};
}

Result<Remap::Old> Remap::Stop(const std::string& id, MountManifest manifest, Session* session) {
  const std::string note = NoteOf(session->spool, manifest.index);
  auto link = ConnectFrontend(session->spool, FrontendSocketName(manifest.index),
                              geteuid() == 0 ? manifest.owner.uid : geteuid());
  const bool dead = !link && (link.error().code == ECONNREFUSED || link.error().code == ENOENT);
  if (!link && !dead) return link.error();
  session->notes.push_back(note);
  if (dead) {
    AIRSTORE_TRY(StoppedProcess::WriteNote(note, 0));
    Old old{std::move(manifest), {}};
    old.link.meta = KeptDescriptor(NameOfTables(id));
    old.link.device = KeptDescriptor(NameOfDevice(id, old.manifest.index));
    return old;
  }
  if (!link->meta) return Error{EPROTO, "its frontend does not show its tables"};
  auto stopped = StoppedProcess::Stop(link->pid, link->pidfd.get(), note);
  if (!stopped) return stopped.error();
  session->stopped.push_back(std::move(*stopped));
  return Old{std::move(manifest), std::move(*link)};
}

Result<void> Remap::RunSession(const SessionManifest& manifest, Session* session) {
  const std::string& spool = session->spool;
  const std::string id = HexOf(manifest.session);
  std::vector<Old> olds;
  for (MountManifest& mount : MountManifestsIn(spool)) {
    const LaneAbi abi = AbiOfLane(spool, mount.index);
    if (abi.major == 0 || abi.major == shm::AbiMajor()) continue;
    const auto refuse = [&](const Error& why) {
      return Error{why.code, mount.spec.mountpoint + ": its frontend speaks shared-memory ABI " +
                                 shm::AbiText(abi.major, abi.minor) +
                                 ", airstore " AIRSTORE_VERSION " " + shm::OwnAbi() + "; " +
                                 why.message};
    };
    if (mount.portable == 0) return refuse({EPROTO, "its program cannot say what there is"});
    auto old = Stop(id, mount, session);
    if (!old) return refuse(old.error());
    olds.push_back(std::move(*old));
  }
  if (olds.empty()) return {};
  const int64_t begun = MonotonicNs();
  const auto at = [](const Old& old, const Error& error) {
    return Error{error.code, old.manifest.spec.mountpoint + ": " + error.message};
  };
  // As for tables of our own ABI: who began last has all that the others had, and more.
  const auto newest = std::max_element(olds.begin(), olds.end(), [](const Old& a, const Old& b) {
    return HeaderOf(a.link.meta.get()).creator_start_ticks <
           HeaderOf(b.link.meta.get()).creator_start_ticks;
  });
  if (newest->link.meta) {
    auto portable = Export(spool, newest->manifest, {}, {newest->link.meta.get()});
    if (!portable) return at(*newest, portable.error());
    auto tables = shm::ImportTables(portable->get(), manifest.session);
    if (!tables) return at(*newest, tables.error());
    UniqueFd own(fcntl((*tables)->fd(), F_DUPFD_CLOEXEC, 0));
    if (!own) return SysError("dup");
    AddKept(NameOfTables(id), std::move(own));
  }
  for (const Old& old : olds) {
    auto portable = ExportLane(spool, old.manifest);
    if (!portable) return at(old, portable.error());
    const auto files = FilesOf(spool, old.manifest.index);
    if (auto made = shm::ImportLane(portable->get(), manifest.session, old.manifest.index,
                                    files[0] + kNew, files[1] + kNew);
        !made) {
      return at(old, made.error());
    }
  }
  Reach(FaultPoint::kRemapRead);
  for (Old& old : olds) {
    for (const std::string& file : FilesOf(spool, old.manifest.index)) {
      if (rename(file.c_str(), (file + kOld).c_str()) != 0 && errno != ENOENT) {
        return SysError("rename " + file);
      }
      // The socket has no successor yet.
      if (rename((file + kNew).c_str(), file.c_str()) != 0 && errno != ENOENT) {
        return SysError("rename " + file + kNew);
      }
    }
    if (old.link.device) {
      AddKept(NameOfDevice(id, old.manifest.index), std::move(old.link.device));
    }
  }
  Reach(FaultPoint::kRemapInPlace);
  spdlog::info("workspace {}: what {} frontends of another ABI shared was brought over in {} ms",
               manifest.workspace, olds.size(), (MonotonicNs() - begun) / 1'000'000);
  return {};
}

Result<void> Remap::Run(bool all_or_nothing) {
  std::error_code failed;
  std::vector<std::string> spools;
  for (const auto& entry : std::filesystem::directory_iterator(spool_, failed)) {
    if (entry.is_directory()) spools.push_back(entry.path());
  }
  for (const std::string& spool : spools) Restore(spool);
  for (const std::string& spool : spools) {
    const auto manifest = ReadManifest(spool);
    if (!manifest) continue;  // said by who looks at the whole spool
    sessions_.push_back(Session{spool, {}, {}});
    const auto done = RunSession(*manifest, &sessions_.back());
    if (done) continue;
    if (all_or_nothing || done.error().code != EPROTO) {
      for (Session& session : sessions_) TakeBack(&session);
      sessions_.clear();
      return done;
    }
    spdlog::error("{}", done.error().message);
    TakeBack(&sessions_.back());
    sessions_.pop_back();
  }
  return {};
}

void Remap::TakeBack(Session* session) {
  session->stopped.clear();
  Restore(session->spool);
}

// Nobody has used ours yet: until the last note is gone it does not matter which files stay.
void Remap::Finish() {
  for (Session& session : sessions_) {
    for (StoppedProcess& old : session.stopped) old.End();
    for (const std::string& note : session.notes) (void)unlink(note.c_str());
    session.stopped.clear();
    RemoveOld(session.spool);
  }
  sessions_.clear();
}

Remap::~Remap() {
  for (Session& session : sessions_) TakeBack(&session);
}

}  // namespace airstore::broker
