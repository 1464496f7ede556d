// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/worker.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "tests/e2e/support/files.h"

namespace airstore::fault {
namespace {

using e2e::ErrnoOf;
using e2e::RandomBytes;

// What a worker has seen.
class Journal {
 public:
  explicit Journal(std::string report) : report_(std::move(report)) {}

  bool over() const { return access((report_ + ".stop").c_str(), F_OK) == 0; }
  void Step() { ++steps_; }
  void Expect(const std::string& what, int error, int expected = 0) {
    if (error == expected) return;
    Surprise(what + ": " + (error == 0 ? "succeeded" : strerror(error)));
  }
  void Expect(const std::string& what, const std::string& found, const std::string& expected) {
    if (found == expected) return;
    size_t at = 0;
    while (at < found.size() && at < expected.size() && found[at] == expected[at]) ++at;
    Surprise(what + ": " + std::to_string(found.size()) + " bytes for " +
             std::to_string(expected.size()) + ", different from " + std::to_string(at));
  }
  void Surprise(const std::string& text) {
    if (surprises_.size() < 100) surprises_.push_back(text);
  }
  void Write() const {
    std::ofstream out(report_ + ".new");
    out << steps_ << "\n";
    for (const std::string& text : surprises_) out << text << "\n";
    out.close();
    std::filesystem::rename(report_ + ".new", report_);
  }

 private:
  std::string report_;
  uint64_t steps_ = 0;
  std::vector<std::string> surprises_;
};

std::string Read(int fd, size_t length, off_t offset, int* error) {
  std::string out(length, '\0');
  const ssize_t got = pread(fd, out.data(), length, offset);
  *error = ErrnoOf(got);
  out.resize(got < 0 ? 0 : static_cast<size_t>(got));
  return out;
}

int Write(int fd, const std::string& bytes, off_t offset) {
  const ssize_t done = pwrite(fd, bytes.data(), bytes.size(), offset);
  if (done < 0) return errno;
  return done == static_cast<ssize_t>(bytes.size()) ? 0 : ENOSPC;
}

std::string Whole(Journal& journal, const std::string& what, const std::string& path, size_t most) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  journal.Expect(what + ": open for reading", file ? 0 : errno);
  if (!file) return {};
  int error = 0;
  std::string found = Read(file.get(), most, 0, &error);
  journal.Expect(what + ": read", error);
  return found;
}

// Each call has one right answer: a second execution of any of them would show.
void Names(Journal& journal, const std::string& directory) {
  for (int i = 0; !journal.over(); ++i) {
    const std::string a = directory + "/a" + std::to_string(i);
    const std::string b = directory + "/b" + std::to_string(i);
    const std::string d = directory + "/d" + std::to_string(i);
    const std::string content = RandomBytes(static_cast<uint64_t>(i), 10 + i % 3000);
    {
      const UniqueFd file(open(a.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
      journal.Expect("exclusive create", file ? 0 : errno);
      if (file) journal.Expect("write to the new file", Write(file.get(), content, 0));
    }
    journal.Expect("second exclusive create", ErrnoOf(open(a.c_str(), O_CREAT | O_EXCL, 0644)),
                   EEXIST);
    journal.Expect("rename", ErrnoOf(rename(a.c_str(), b.c_str())));
    journal.Expect("second rename", ErrnoOf(rename(a.c_str(), b.c_str())), ENOENT);
    journal.Expect("renamed file", Whole(journal, "renamed file", b, 10000), content);
    journal.Expect("link", ErrnoOf(link(b.c_str(), a.c_str())));
    journal.Expect("second link", ErrnoOf(link(b.c_str(), a.c_str())), EEXIST);
    journal.Expect("unlink", ErrnoOf(unlink(b.c_str())));
    journal.Expect("second unlink", ErrnoOf(unlink(b.c_str())), ENOENT);
    journal.Expect("mkdir", ErrnoOf(mkdir(d.c_str(), 0755)));
    journal.Expect("second mkdir", ErrnoOf(mkdir(d.c_str(), 0755)), EEXIST);
    const std::string inside = d + "/link";
    journal.Expect("symlink", ErrnoOf(symlink("nowhere", inside.c_str())));
    journal.Expect("rmdir of a full directory", ErrnoOf(rmdir(d.c_str())), ENOTEMPTY);
    char target[16];
    journal.Expect("readlink", ErrnoOf(readlink(inside.c_str(), target, sizeof target)));
    journal.Expect("unlink of the link", ErrnoOf(unlink(inside.c_str())));
    journal.Expect("rmdir", ErrnoOf(rmdir(d.c_str())));
    journal.Expect("second rmdir", ErrnoOf(rmdir(d.c_str())), ENOENT);
    // Some stay, and are looked at from elsewhere when all is over.
    if (i % 4 != 0) journal.Expect("unlink of the other name", ErrnoOf(unlink(a.c_str())));
    journal.Step();
  }
}

// A few files, written, cut and read at random; a copy in memory says what is right.
void Files(Journal& journal, const std::string& directory) {
  std::mt19937 random(7);
  std::map<int, std::string> model;
  for (int i = 0; !journal.over(); ++i) {
    const int which = static_cast<int>(random() % 6);
    const std::string path = directory + "/f" + std::to_string(which);
    std::string& expected = model[which];
    const UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    journal.Expect("open for writing", file ? 0 : errno);
    if (!file) continue;
    for (int k = 0; k < 4; ++k) {
      const size_t at = random() % 200'000;
      const std::string bytes = RandomBytes(random(), 1 + random() % 70'000);
      journal.Expect("write", Write(file.get(), bytes, static_cast<off_t>(at)));
      if (expected.size() < at + bytes.size()) expected.resize(at + bytes.size());
      expected.replace(at, bytes.size(), bytes);
    }
    if (random() % 3 == 0) {
      const size_t size = random() % 150'000;
      journal.Expect("ftruncate", ErrnoOf(ftruncate(file.get(), static_cast<off_t>(size))));
      expected.resize(size);
    }
    if (random() % 5 == 0) journal.Expect("fsync", ErrnoOf(fsync(file.get())));
    int error = 0;
    journal.Expect("read back", Read(file.get(), 1 << 20, 0, &error), expected);
    journal.Expect("read back", error);
    struct stat status {};
    journal.Expect("fstat", ErrnoOf(fstat(file.get(), &status)));
    if (static_cast<size_t>(status.st_size) != expected.size()) journal.Surprise("wrong size");
    journal.Step();
  }
}

// Small files that do not change: served from the slabs once they have been sent.
void Readers(Journal& journal, const std::string& directory) {
  constexpr int kFiles = 200;
  for (int i = 0; i < kFiles; ++i) {
    e2e::WriteFile(directory + "/s" + std::to_string(i),
                   RandomBytes(static_cast<uint64_t>(i), static_cast<size_t>(i) * 150));
  }
  for (int i = 0; !journal.over(); ++i) {
    const int which = i * 37 % kFiles;
    const std::string path = directory + "/s" + std::to_string(which);
    const std::string expected =
        RandomBytes(static_cast<uint64_t>(which), static_cast<size_t>(which) * 150);
    const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    journal.Expect("open of a small file", file ? 0 : errno);
    if (file) {
      // So that the kernel asks each time.
      if (i % 2 == 0) posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
      int error = 0;
      journal.Expect("small file", Read(file.get(), 100'000, 0, &error), expected);
      journal.Expect("read of a small file", error);
    }
    if (i % 50 == 0) {
      std::error_code failed;
      int names = 0;
      for (std::filesystem::directory_iterator at(directory, failed), end; !failed && at != end;
           at.increment(failed)) {
        ++names;
      }
      journal.Expect("listing", failed.value());
      if (!failed && names != kFiles) {
        journal.Surprise("listing of " + std::to_string(names) + " names");
      }
    }
    journal.Step();
  }
}

// A shared map, stored to and read back through another descriptor.
void Maps(Journal& journal, const std::string& directory) {
  constexpr size_t kBytes = 1 << 20;
  const std::string path = directory + "/map";
  const UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  journal.Expect("create", file ? 0 : errno);
  journal.Expect("ftruncate", ErrnoOf(ftruncate(file.get(), kBytes)));
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  journal.Expect("mmap", memory == MAP_FAILED ? errno : 0);
  if (memory == MAP_FAILED) return;
  auto* bytes = static_cast<char*>(memory);
  std::mt19937 random(3);
  std::string expected(kBytes, '\0');
  while (!journal.over()) {
    const size_t at = random() % (kBytes - 10'000);
    const std::string part = RandomBytes(random(), 1 + random() % 10'000);
    memcpy(bytes + at, part.data(), part.size());
    expected.replace(at, part.size(), part);
    journal.Expect("msync", ErrnoOf(msync(memory, kBytes, MS_SYNC)));
    const UniqueFd other(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    journal.Expect("second open", other ? 0 : errno);
    int error = 0;
    if (other) journal.Expect("mapped file", Read(other.get(), kBytes, 0, &error), expected);
    journal.Expect("read of the mapped file", error);
    journal.Step();
  }
  if (memcmp(bytes, expected.data(), kBytes) != 0) journal.Surprise("the map is wrong");
  munmap(memory, kBytes);
}

// What lives across many deaths: a working directory, descriptors, an unlinked file.
void Holder(Journal& journal, const std::string& directory) {
  journal.Expect("chdir", ErrnoOf(chdir(directory.c_str())));
  struct stat home {};
  journal.Expect("stat", ErrnoOf(stat(".", &home)));
  std::string content = RandomBytes(1, 300'000);
  const UniqueFd kept(open("kept", O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  const UniqueFd unlinked(open("unlinked", O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  const UniqueFd listing(open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  journal.Expect("opens", kept && unlinked && listing ? 0 : errno);
  journal.Expect("write", Write(kept.get(), content, 0));
  journal.Expect("write", Write(unlinked.get(), content, 0));
  journal.Expect("unlink", ErrnoOf(unlink("unlinked")));
  for (int i = 0; !journal.over(); ++i) {
    int error = 0;
    const off_t at = i * 4099 % 290'000;
    const std::string part = RandomBytes(static_cast<uint64_t>(i), 5'000);
    journal.Expect("write to an unlinked file", Write(unlinked.get(), part, at));
    content.replace(static_cast<size_t>(at), part.size(), part);
    posix_fadvise(unlinked.get(), 0, 0, POSIX_FADV_DONTNEED);
    journal.Expect("unlinked file", Read(unlinked.get(), 1 << 20, 0, &error), content);
    journal.Expect("read of an unlinked file", error);
    posix_fadvise(kept.get(), 0, 0, POSIX_FADV_DONTNEED);
    journal.Expect("kept file", Read(kept.get(), 300'000, 0, &error), RandomBytes(1, 300'000));
    journal.Expect("read of a kept file", error);
    struct stat status {};
    journal.Expect("fstat of an unlinked file", ErrnoOf(fstat(unlinked.get(), &status)));
    if (status.st_nlink != 0) journal.Surprise("an unlinked file has a name");
    journal.Expect("stat of the working directory", ErrnoOf(stat(".", &status)));
    if (status.st_dev != home.st_dev || status.st_ino != home.st_ino) {
      journal.Surprise("the working directory is another one");
    }
    journal.Expect("fsync of a directory", ErrnoOf(fsync(listing.get())));
    journal.Step();
  }
}

}  // namespace

int RunWorker(const std::string& kind, const std::string& directory, const std::string& report) {
  static const std::map<std::string, void (*)(Journal&, const std::string&)> kKinds = {
      {"names", Names}, {"files", Files}, {"readers", Readers}, {"maps", Maps}, {"holder", Holder}};
  Journal journal(report);
  try {
    kKinds.at(kind)(journal, directory);
  } catch (const std::exception& error) {
    journal.Surprise(std::string("ended: ") + error.what());
  }
  journal.Write();
  return 0;
}

void Crew::Start(const std::string& kind, const std::string& root) {
  const std::string name = kind + std::to_string(workers_.size());
  const std::string directory = root + "/" + name;
  std::filesystem::create_directory(directory);
  const std::string report = reports_ + name;
  workers_.push_back({kind, report,
                      e2e::Process({std::filesystem::read_symlink("/proc/self/exe").string(),
                                    kWorkerFlag, kind, directory, report},
                                   {.output_file = report + ".log"})});
}

Crew::Outcome Crew::Stop() {
  Outcome outcome;
  for (const Worker& worker : workers_) std::ofstream(worker.report + ".stop").put('\n');
  for (Worker& worker : workers_) {
    const auto code = worker.process.Wait(std::chrono::seconds(60));
    std::ifstream report(worker.report);
    uint64_t steps = 0;
    if (!code || *code != 0 || !(report >> steps)) {
      outcome.surprises.push_back(worker.kind + ": did not come back");
      continue;
    }
    if (steps == 0) outcome.surprises.push_back(worker.kind + ": did nothing");
    outcome.steps += steps;
    std::string line;
    std::getline(report, line);
    while (std::getline(report, line)) outcome.surprises.push_back(worker.kind + ": " + line);
  }
  workers_.clear();
  return outcome;
}

}  // namespace airstore::fault
