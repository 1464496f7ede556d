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

constexpr int kExportMs = 60'000;
constexpr char kNotePrefix[] = "stopped-";
// Behind the names of files: those of the other ABI, and ours before they take their place.
constexpr char kOld[] = ".other-abi";
constexpr char kNew[] = ".new";

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

// Of the process, if it is still the file that its broker had started.
Result<UniqueFd> ProgramOf(const FrontendLink& link, const MountManifest& manifest) {
  const std::string path = "/proc/" + std::to_string(link.pid) + "/exe";
  UniqueFd program(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (!program || fstat(program.get(), &info) != 0) return SysError("open " + path);
  if (info.st_dev != manifest.program_device || info.st_ino != manifest.program_inode) {
    return Error{EPERM, path + " is not the program that was started"};
  }
  return program;
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

// A file in portable form.
Result<UniqueFd> Export(const std::string& session_spool, const MountManifest& manifest,
                        const FrontendLink& link, bool with_tables) {
  auto program = ProgramOf(link, manifest);
  if (!program) return program.error();
  const auto files = FilesOf(session_spool, manifest.index);
  const UniqueFd lane(open(files[0].c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!lane) return SysError("open " + files[0]);
  const UniqueFd arena(open(files[1].c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!arena) return SysError("open " + files[1]);
  UniqueFd out(memfd_create("airstore-portable", MFD_CLOEXEC));
  if (!out) return SysError("memfd_create");
  LaunchOptions launch;
  launch.program = manifest.spec.backend == "nfs" ? "airstore-nfs" : "airstore-fuse";
  launch.program_fd = program->get();
  launch.arguments = {"--export", manifest.spec.mountpoint};
  launch.uid = manifest.owner.uid;
  launch.gid = manifest.owner.gid;
  auto process = Launch(launch);
  if (!process) return process.error();
  std::vector<int> fds = {out.get(), lane.get(), arena.get()};
  if (with_tables) fds.push_back(link.meta.get());
  const auto sent = shm::SendDescriptors(process->channel.get(), fds);
  const std::string answer = sent ? Answer(*process) : sent.error().ToString();
  Kill(*process);
  (void)Reap(*process);
  if (answer != "ok") return Error{EPROTO, "its program cannot say what there is: " + answer};
  return out;
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
    const std::string note = session_spool + "/" + kNotePrefix + std::to_string(index);
    if (access(note.c_str(), F_OK) != 0) continue;
    for (const std::string& file : FilesOf(session_spool, index)) {
      (void)rename((file + kOld).c_str(), file.c_str());
    }
    spdlog::warn("{}: the frontend of another ABI of mount {} goes on as before", session_spool,
                 index);
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

Result<Remap::Old> Remap::Stop(const std::string& session_spool, MountManifest manifest) {
  auto link = ConnectFrontend(session_spool, FrontendSocketName(manifest.index),
                              geteuid() == 0 ? manifest.owner.uid : geteuid());
  if (!link) return link.error();
  if (!link->meta) return Error{EPROTO, "its frontend does not show its tables"};
  auto stopped =
      StoppedProcess::Stop(link->pid, link->pidfd.get(),
                           session_spool + "/" + kNotePrefix + std::to_string(manifest.index));
  if (!stopped) return stopped.error();
  stopped_.push_back(std::move(*stopped));
  return Old{std::move(manifest), std::move(*link)};
}

Result<void> Remap::RunSession(const std::string& session_spool, const SessionManifest& manifest) {
  std::vector<Old> olds;
  for (MountManifest& mount : MountManifestsIn(session_spool)) {
    const LaneAbi abi = AbiOfLane(session_spool, mount.index);
    if (abi.major == 0 || abi.major == shm::AbiMajor()) continue;
    const auto refuse = [&](const std::string& why) {
      return Error{EPROTO, mount.spec.mountpoint + ": its frontend speaks shared-memory ABI " +
                               shm::AbiText(abi.major, abi.minor) +
                               ", airstore " AIRSTORE_VERSION " " + shm::OwnAbi() + "; " + why};
    };
    if (mount.portable == 0) return refuse("its program cannot say what there is");
    if (olds.empty()) sessions_.push_back(session_spool);
    auto old = Stop(session_spool, mount);
    if (!old) return refuse(old.error().ToString());
    olds.push_back(std::move(*old));
  }
  if (olds.empty()) return {};
  const int64_t begun = MonotonicNs();
  // As for tables of our own ABI: who began last has all that the others had, and more.
  const auto newest = std::max_element(olds.begin(), olds.end(), [](const Old& a, const Old& b) {
    return HeaderOf(a.link.meta.get()).creator_start_ticks <
           HeaderOf(b.link.meta.get()).creator_start_ticks;
  });
  const std::string id = HexOf(manifest.session);
  for (Old& old : olds) {
    const std::string& where = old.manifest.spec.mountpoint;
    const bool with_tables = &old == &*newest;
    auto portable = Export(session_spool, old.manifest, old.link, with_tables);
    if (!portable) return Error{portable.error().code, where + ": " + portable.error().message};
    const auto files = FilesOf(session_spool, old.manifest.index);
    auto imported = shm::ImportPortable(portable->get(), manifest.session, old.manifest.index,
                                        files[0] + kNew, files[1] + kNew);
    if (!imported) return Error{imported.error().code, where + ": " + imported.error().message};
    if (!with_tables) continue;
    if (!imported->tables) return Error{EPROTO, where + ": no tables are handed over"};
    UniqueFd tables(fcntl(imported->tables->fd(), F_DUPFD_CLOEXEC, 0));
    if (!tables) return SysError("dup");
    AddKept(NameOfTables(id), std::move(tables));
  }
  Reach(FaultPoint::kRemapRead);
  for (Old& old : olds) {
    for (const std::string& file : FilesOf(session_spool, old.manifest.index)) {
      if (rename(file.c_str(), (file + kOld).c_str()) != 0) return SysError("rename " + file);
      // The socket has no successor yet.
      if (rename((file + kNew).c_str(), file.c_str()) != 0 && errno != ENOENT) {
        return SysError("rename " + file + kNew);
      }
    }
    AddKept(NameOfDevice(id, old.manifest.index), std::move(old.link.device));
  }
  Reach(FaultPoint::kRemapInPlace);
  spdlog::info("workspace {}: what {} frontends of ABI {} share was brought over in {} ms",
               manifest.workspace, olds.size(), olds.front().link.abi_major,
               (MonotonicNs() - begun) / 1'000'000);
  return {};
}

Result<void> Remap::Run() {
  std::error_code failed;
  std::vector<std::string> sessions;
  for (const auto& entry : std::filesystem::directory_iterator(spool_, failed)) {
    if (entry.is_directory()) sessions.push_back(entry.path());
  }
  for (const std::string& session : sessions) Restore(session);
  for (const std::string& session : sessions) {
    const auto manifest = ReadManifest(session);
    if (!manifest) continue;  // said by who looks at the whole spool
    if (auto done = RunSession(session, *manifest); !done) {
      TakeBack();
      return done;
    }
  }
  return {};
}

void Remap::TakeBack() {
  stopped_.clear();
  for (const std::string& session : sessions_) Restore(session);
  sessions_.clear();
}

// Nobody has used ours yet: until the last note is gone it does not matter which files stay.
void Remap::Finish() {
  for (StoppedProcess& old : stopped_) old.End();
  for (StoppedProcess& old : stopped_) old.Forget();
  stopped_.clear();
  for (const std::string& session : sessions_) RemoveOld(session);
  sessions_.clear();
}

Remap::~Remap() { TakeBack(); }

}  // namespace airstore::broker
