// SPDX-License-Identifier: Apache-2.0
//
// What a directory's mode, owner and sticky bit let each user do in it; what a new file inherits.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/posix/calls.h"

namespace airstore::posix {
namespace {

std::string Octal(mode_t mode) {
  char text[16];
  snprintf(text, sizeof text, "0%o", mode);
  return text;
}

class Directories : public Lockstep {};

// mkdir, unlink, rename and the like in a directory of every mode that matters.
TEST_F(Directories, OfEveryMode) {
  const std::set<std::string> calls{"create",          "mkdir", "rmdir",       "unlink",
                                    "mkfifo",          "bind",  "symlink",     "link from",
                                    "link to",         "stat",  "rename from", "rename to",
                                    "open for reading"};
  for (const PathCall& call : PathCalls()) {
    if (!calls.contains(call.name)) continue;
    for (const Caller& caller : AllCallers()) {
      for (const mode_t mode : {0007, 0070, 0700, 0333, 0555, 0666, 0111, 0777}) {
        const bool makes = call.name == "create" || call.name.starts_with("mk") ||
                           call.name == "bind" || call.name == "symlink" || call.name == "link to";
        Add({call.name + " in a directory of mode " + Octal(mode),
             [=, &call] {
               MakeFile("source", 0666);
               GiveTo("source", caller);
               MakeDir("d");
               if (call.name == "rmdir") {
                 MakeDir("d/it");
               } else if (!makes) {
                 MakeFile("d/it", 0666);
               }
               if (!makes) GiveTo("d/it", Member());
               ASSERT_EQ(chmod("d", mode), 0);
               GiveTo("d", Owner());
             },
             caller, [&call] { return call.run("d/it"); }});
      }
    }
  }
  Run({0, EACCES});
}

// In a sticky directory only the owners of the file and of the directory remove.
TEST_F(Directories, Sticky) {
  for (const Caller& caller : AllCallers()) {
    for (const Caller& of_directory : {Root(), Owner(), Other()}) {
      for (const Caller& of_file : {Root(), Owner(), Other()}) {
        for (const char* kind : {"file", "directory", "link to nothing", "FIFO"}) {
          for (const char* call : {"unlink", "rmdir", "rename from", "rename to"}) {
            for (const mode_t mode : {01777, 0777}) {
              const PathCall* found = nullptr;
              for (const PathCall& one : PathCalls()) {
                if (one.name == call) found = &one;
              }
              Add({std::string(call) + " of a " + kind + " of " + of_file.name +
                       " in a directory of " + of_directory.name + ", " + Octal(mode),
                   [=] {
                     MakeFile("source");
                     GiveTo("source", caller);
                     MakeDir("d", mode);
                     KindOf(kind).make("d/it", 0777);
                     GiveTo("d/it", of_file);
                     GiveTo("d", of_directory);
                   },
                   caller, [found] { return found->run("d/it"); }});
            }
          }
        }
      }
    }
  }
  Run({0, EPERM, EISDIR, ENOTDIR});
}

// Mode, owner and group of what is new: the umask, and a directory that passes its group on.
TEST_F(Directories, NewFiles) {
  struct New {
    const char* name;
    Outcome (*make)(mode_t mode);
  };
  static const New kinds[] = {
      {"open", [](mode_t m) { return Result(close(open("d/it", O_CREAT | O_WRONLY, m))); }},
      {"mkdir", [](mode_t m) { return Result(mkdir("d/it", m)); }},
      {"mkfifo", [](mode_t m) { return Result(mkfifo("d/it", m)); }},
      {"mknod", [](mode_t m) { return Result(mknod("d/it", S_IFREG | m, 0)); }},
      {"socket", [](mode_t m) { return Result(mknod("d/it", S_IFSOCK | m, 0)); }},
      {"symlink", [](mode_t) { return Result(symlink("a", "d/it")); }},
  };
  for (const Caller& caller : AllCallers()) {
    for (const New& kind : kinds) {
      for (const mode_t directory : {0777, 02777, 03777, 06777}) {
        for (const mode_t mode : {0777, 07777, 02755, 02770, 02745, 04711, 01644, 0}) {
          for (const mode_t mask : {0, 022, 077, 0777}) {
            if (mask != 022 && mode != 07777 && directory != 02777) continue;
            Add({std::string(kind.name) + " of mode " + Octal(mode) + ", umask " + Octal(mask) +
                     ", in a directory of mode " + Octal(directory),
                 [=] {
                   MakeDir("d", directory);
                   GiveTo("d", kOwner, kThirdGroup);
                 },
                 caller,
                 [=] {
                   umask(mask);
                   return kind.make(mode);
                 }});
          }
        }
      }
    }
  }
  Run({0});
}

// What has been removed takes no new names, and says so.
TEST_F(Directories, Removed) {
  for (const PathCall& call : PathCalls()) {
    for (const char* path : {"it", ".", "../removed/it"}) {
      Add({call.name + " of " + path + " in a directory that is gone",
           [] { MakeDir("removed", 0777); }, Root(),
           [&call, path]() -> Outcome {
             if (chdir("removed") != 0 || rmdir("../removed") != 0) return {EIO};
             return call.run(path);
           }});
    }
  }
  Run({0, ENOENT});
}

}  // namespace
}  // namespace airstore::posix
