. ../asvspoof2019_la/cmd.sh
